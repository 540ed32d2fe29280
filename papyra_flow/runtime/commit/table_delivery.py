"""The end of a batch of tables: what each became, and the rows that were split off from it, in one commit.

`MergedDelivery` is for stages where records become tables: those of a batch are committed all or none. What does
not live here: how a commit of any kind is sent, and what becomes of a failure (`delivery`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.records.rows import Failures
from papyra_flow.runtime.commit.delivery import Delivery, Prepared
from papyra_flow.runtime.stage.merging import Merged
from papyra_flow.runtime.stage.processing import Processed
from papyra_flow.runtime.stage.router import put
from papyra_flow.runtime.stage.table_router import Routed
from papyra_flow.runtime.stage.tables import ProcessedTables
from papyra_flow.streams.commit.commit import NOWHERE, Commit, Committed


@dataclass(slots=True)
class PreparedTables(Prepared):
    """A batch of tables that waits for its commit; `leaving` is what is counted once an entry is committed."""

    leaving: list[tuple[bytes, Routed]] = field(default_factory=list)


class TableDelivery(Delivery):
    """Forwards a stage's tables; what it counts are rows."""

    def prepare(self, batch: Batch, processed: Processed) -> Prepared:
        """Put what every table became into a commit, with the dead letters of its bad rows."""
        assert isinstance(processed, ProcessedTables)  # noqa: S101 - by this stage's own processor
        commit, failures = Commit(), dict(processed.failures)
        leaving: list[tuple[bytes, Routed]] = []
        for place, routed in processed.tables.items():
            try:
                beside = self._beside(batch.entry(place), processed.aside.get(place))
                put(commit, batch.ids[place], [*routed.entries, *beside])
            except RecordError as exc:
                failures[place] = exc
            else:
                leaving.append((batch.ids[place], routed))
        return self._prepared(batch, commit, failures, leaving)

    def _prepared(
        self, batch: Batch, commit: Commit, failures: Failures, leaving: list[tuple[bytes, Routed]]
    ) -> PreparedTables:
        routed = len(commit)
        return PreparedTables(batch, commit, routed, self._settle(batch, failures, commit), failures, leaving=leaving)

    async def commit(self, prepared: Prepared) -> list[tuple[Entry, float]]:
        """As `Delivery.commit`."""
        assert isinstance(prepared, PreparedTables)  # noqa: S101 - by `prepare`
        committed = await self._commit(prepared.batch.key, prepared.commit)
        self._count_tables(prepared, committed, len(prepared.batch) if prepared.batch.fresh else 0)
        return prepared.fate.again

    def _count_tables(self, prepared: PreparedTables, committed: Committed, reserved: int) -> None:
        stage, counters = self._stage, self._stage.counters
        for entry_id, routed in prepared.leaving:
            if entry_id not in committed.stale:
                counters.dropped += routed.dropped
                for number, rows in routed.rows.items():
                    counters.emitted[stage.targets[number].name] += rows
        entries = prepared.commit.tally(prepared.routed, committed.stale)
        for number, target in enumerate(stage.targets):
            stage.context.gates.spend(target.name, entries[number], reserved)
        counters.dead += entries[self._dead_index]
        self._count(prepared.fate, committed)


class MergedDelivery(TableDelivery):
    """Forwards the tables that a batch of records became; the records are acknowledged together, or not at all."""

    def prepare(self, batch: Batch, processed: Processed) -> Prepared:
        """The first record carries what all of them became."""
        assert isinstance(processed, Merged)  # noqa: S101 - by this stage's own processor
        commit, failures = Commit(), dict(processed.failures)
        lives = [entry_id for place, entry_id in enumerate(batch.ids) if place not in failures]
        for entry_id in lives[:1]:
            try:
                put(commit, entry_id, processed.routed.entries)
            except RecordError as exc:  # more records than one commit can carry
                together = dict.fromkeys(range(len(batch)), exc)
                return self._prepared(batch, Commit(), {**together, **failures}, [])
        commit.extend(lives[1:], [NOWHERE] * len(lives[1:]), [b""] * len(lives[1:]))
        return self._prepared(batch, commit, failures, [(entry_id, processed.routed) for entry_id in lives[:1]])

    async def commit(self, prepared: Prepared) -> list[tuple[Entry, float]]:
        """As `Delivery.commit`; what somebody else has committed meanwhile is left out, and the rest done anew."""
        assert isinstance(prepared, PreparedTables)  # noqa: S101 - by `prepare`
        stage, batch = self._stage, prepared.batch
        reserved, stale = (len(batch) if batch.fresh else 0), set[bytes]()
        while True:
            committed = await self._commit(batch.key, prepared.commit, together=True)
            if not committed.missing:
                break
            stale |= committed.missing
            batch = batch.without(committed.missing)
            again = self.prepare(batch, await stage.processor.process(batch))
            assert isinstance(again, PreparedTables)  # noqa: S101 - by `prepare`
            prepared = again
        committed.stale = stale
        self._count_tables(prepared, committed, reserved)
        return prepared.fate.again
