"""The end of a batch in a stage whose partitions have owners: what it became, state and position, in one commit.

Entries are committed in their order. Where one is to be tried again, those before it are committed and it waits, with
all that came behind it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from papyra_flow.error_text import error_of
from papyra_flow.errors import Dead, FencedError, RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry, parse_id
from papyra_flow.records.rows import Failures
from papyra_flow.runtime.commit.delivery import Delivery
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.commit.sink_writer import SinkWriter
from papyra_flow.runtime.services.partition_state import PartitionState
from papyra_flow.runtime.stage.failure import FailureVerdict
from papyra_flow.runtime.stage.opening import program_over
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.runtime.stage.timer_batch import TimerBatch
from papyra_flow.streams.commit.commit import Committed
from papyra_flow.streams.commit.operations import MoveCheckpoint, StateChanges
from papyra_flow.streams.commit.owned_committer import OwnedCommit, OwnedCommitter
from papyra_flow.streams.commit.ownership import Ownership


class OwnedDelivery(Delivery):
    """Commits what the owner of a partition makes of its batches; `state` is what the stage keeps, if it does."""

    def __init__(
        self, stage: StageRuntime, ownership: Ownership, state: PartitionState | None, sink: SinkWriter | None = None
    ) -> None:
        super().__init__(stage, "owner", sink)
        self.program = program_over(stage, state)
        self._ownership = ownership
        self._state = state
        keys = stage.context.topology.keys
        self._committer = OwnedCommitter(
            stage.context.server.client, ownership,
            group=stage.spec.group, probe=keys.probe, ledger=keys.ledger, targets=stage.targets.keys,
            sink_lease=stage.spec.sink_lease if stage.spec.exclusive else None,
        )  # fmt: skip

    async def work(self, batch: Batch) -> Prepared:
        """Run a batch as far as it goes, and make the commit of that ready."""
        first, stopped = batch, None
        before = self._state.progress.state() if self._state is not None else None
        while True:
            outcome = await self._run(first) if first else Outcome()
            if (found := self._first_to_wait(first, outcome.failures)) is None:
                break
            # What is behind a record that has to wait must not be done before it: again, without that.
            stopped, first = found, batch.part(0, found[0])
            if self._state is not None and before is not None:
                self._state.store.rollback()
                self._state.progress.restore(before)
        prepared = self.prepare(first, outcome)
        if stopped is not None:
            place, verdict, exc = stopped
            prepared.read = batch
            if verdict.action == "halt":
                prepared.fate.halted = (batch.entry(place), exc)
            else:
                prepared.fate.again = _again(batch, place, verdict.delay)
        if self._state is not None:
            prepared.changes, prepared.late = self._state.changes(), self._state.late
            prepared.kept = self._state.progress.kept()
        return prepared

    def prepare_left(self, prepared: Prepared, gone: Collection[bytes]) -> Prepared:
        """As `Delivery.prepare_left`: what is behind a refused record was written, so that it cannot wait any more."""
        batch, outcome, halted = prepared.batch, prepared.outcome, prepared.fate.halted
        failures: Failures = {}
        for place, exc in outcome.failures.items():
            failures[place] = final = _final(exc)
            if self._stage.policy.judge(batch.entry(place), final).action == "halt":
                halted, failures[place] = halted or (batch.entry(place), exc), Dead(error_of(exc))
        outcome.failures = failures
        left = self.prepare(batch, outcome, gone)
        left.fate.again, left.fate.halted = prepared.fate.again, halted
        return replace(prepared, commit=left.commit, fate=left.fate)

    def _first_to_wait(self, batch: Batch, failures: Failures) -> tuple[int, FailureVerdict, Exception] | None:
        """The first entry that is neither done nor dead, what is to become of it, and why."""
        for place in sorted(failures):
            verdict = self._stage.policy.judge(batch.entry(place), failures[place])
            if verdict.action in {"retry", "halt"}:
                return place, verdict, failures[place]
        return None

    async def _send(self, prepared: Prepared, moved: MoveCheckpoint | None) -> Committed:
        batch, changes = prepared.batch, prepared.changes
        if not batch:
            return Committed()
        timers = isinstance(batch, TimerBatch)
        moves = not timers and parse_id(batch.ids[0]) > parse_id(self._ownership.positions[batch.key])
        kept = {**prepared.kept, "limit": "0"} if self._ownership.recovered else prepared.kept
        owned = OwnedCommit(
            prepared.commit, batch.key, () if timers else batch.ids, moves,
            changes if changes is not None else StateChanges(), kept,
        )  # fmt: skip
        if await self._stage.retry_policy.keep_trying(lambda: self._committer.commit(owned, moved)):
            # The state would have to forget them, too: start over with what is still there.
            raise FencedError(f"entries that were pending on {batch.key} were committed by a shared stage's consumer")
        if "limit" in kept:
            self._ownership.limit, self._ownership.recovered = 0, False
        if self._state is not None and changes is not None:
            self._state.store.settled(changes)
            self._stage.counters.late += prepared.late
        if moves and batch.key not in self._stage.implicit and not self._stage.spec.reads_tables:
            self._stage.counters.read += len(batch)  # not before: an owner reads again what the one before had read
        return Committed(acked=0 if timers else len(batch))


def _final(exc: Exception) -> Exception:
    """A failure as one that another attempt does not cure."""
    if isinstance(exc, RecordError | Dead):
        return exc
    final = RecordError(error_of(exc))
    final.__cause__ = exc
    return final


def _again(batch: Batch, place: int, delay: float) -> list[tuple[Entry, float]]:
    """The entries from one place on, which wait together: one more delivery for the first."""
    entries = [batch.entry(number) for number in range(place, len(batch))]
    first = entries[0]
    entries[0] = Entry(first.key, first.id, first.fields, first.deliveries + 1, first.came_from)
    return [(entry, delay) for entry in entries]
