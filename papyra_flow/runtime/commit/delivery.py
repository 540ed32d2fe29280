"""The end of a batch: what it became is written or forwarded, and acknowledged, in one commit.

A batch is prepared, which may be done while the one before is being committed, and then committed, which hands back the
entries that are to be tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress
from time import perf_counter

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import PipelineFailedError, RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import DATA, Entry
from papyra_flow.runtime.commit.after_commit import after_commit
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.commit.settlement import settle
from papyra_flow.runtime.commit.sink_writer import SinkWriter
from papyra_flow.runtime.stage.failure import dead_fields, describe_failure, is_killer
from papyra_flow.runtime.stage.outcome import Became, Emitted, Outcome
from papyra_flow.runtime.stage.program import BatchProgram
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.commit import NOWHERE, Commit, Committed
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.commit.operations import Change, Forward, MoveCheckpoint


class Delivery:
    """Commits a stage's batches, all of one stream each, as one consumer; `sink` is written to before."""

    def __init__(self, stage: StageRuntime, consumer: str, sink: SinkWriter | None = None) -> None:
        self._stage = stage
        self._sink = sink
        self.program: BatchProgram = stage.program
        """What runs the batches."""
        self.encode: Encode | None = sink.encode if sink is not None else None
        """How the sink writes a record; None where the stage has none."""
        spec, context = stage.spec, stage.context
        self._committers = {
            stream.key: Committer(
                context.server.client,
                source=stream.key,
                group=spec.group,
                consumer=consumer,
                probe=context.topology.keys.probe,
                lease=spec.sink_lease if spec.exclusive else None,
                targets=stage.targets.keys,
                ledger=context.topology.keys.ledger,
                later=context.topology.keys.later(spec.name),
            )
            for stream in stage.inputs
        }

    async def work(self, batch: Batch) -> Prepared:
        """Run a batch, and make its commit ready."""
        return self.prepare(batch, await self._run(batch))

    async def _run(self, batch: Batch) -> Outcome:
        """What a batch becomes; one that has ended its workers again and again is not run any more."""
        stage, program = self._stage, self.program
        if is_killer(entry := batch.entry(0), stage.spec.settings.attempts):
            return program.give_up(
                batch,
                RecordError(
                    f"delivered {entry.deliveries} times without completing: it appears to crash the worker that "
                    "processes it"
                ),
            )
        started = perf_counter()
        outcome = await program.run(batch, self.encode)
        if stage.spec.steps and stage.context.belongings is not None:
            stage.context.belongings.look(stage.name)
        stage.timing.processed(batch, perf_counter() - started)
        return outcome

    def prepare(self, batch: Batch, outcome: Outcome, gone: Collection[bytes] = ()) -> Prepared:
        """Make the commit of what a batch became, and decide on what failed; all of it without the ids `gone`."""
        commit = Commit()
        if gone:
            keep = [entry_id not in gone for entry_id in outcome.ids]
            columns = (list(compress(column, keep)) for column in (outcome.ids, outcome.targets, outcome.data))
            commit.extend(*columns)  # type: ignore[arg-type]
        else:
            commit.extend(outcome.ids, outcome.targets, outcome.data)
        for place, became in list(outcome.became.items()):
            try:
                if (entry_id := batch.ids[place]) not in gone:
                    put(commit, entry_id, [*became.emitted, *self._beside(batch, place, became)], became.changes)
            except RecordError as exc:  # more than one commit can carry
                outcome.fail(place, exc, len(batch))
        done = [entry_id for entry_id in outcome.done if entry_id not in gone] if gone else outcome.done
        commit.extend(done, [NOWHERE] * len(done), [b""] * len(done))
        return Prepared(batch, outcome, commit, settle(self._stage, batch, outcome.failures, commit, gone))

    async def commit(self, prepared: Prepared) -> list[tuple[Entry, float]]:
        """Commit a batch; returns the entries to be tried again, and the wait before that in seconds.

        Where all is done or nothing, what another consumer has committed meanwhile is left out, and the rest done
        again. Raises FencedError if another process owns the sink by now, and PipelineFailedError for `on_error: halt`,
        after the rest of the batch was committed.
        """
        started, gone = perf_counter(), set[bytes]()
        reserved = len(prepared.whole) if prepared.whole.fresh else 0
        while True:
            # 1. Write outside, where the stage has a sink.
            moved, prepared = await self._write(prepared, gone)
            # 2. Acknowledge, and forward or move the sink's checkpoint, in one step.
            committed = await self._send(prepared, moved)
            if not committed.missing:
                break
            gone |= committed.missing
            prepared = await self._without(prepared, committed.missing, gone)
        # 3. Tell all who go by it.
        if self._sink is not None:
            self._sink.committed(moved)
        committed.stale |= gone
        after_commit(self._stage, prepared, committed, reserved, perf_counter() - started)
        if prepared.fate.halted is not None:
            raise self._halted(*prepared.fate.halted)
        return prepared.fate.again

    async def _write(self, prepared: Prepared, gone: Collection[bytes]) -> tuple[MoveCheckpoint | None, Prepared]:
        """Write outside; records that are refused fail, and all others are written and go into the commit."""
        if self._sink is None:
            return None, prepared
        batch, outcome = prepared.batch, prepared.outcome
        payloads = [(place, payload) for place, payload in outcome.for_sink() if batch.ids[place] not in gone]
        moved, refused = await self._sink.write(batch, [(batch.ids[place], payload) for place, payload in payloads])
        if refused:
            outcome.refuse([(*payloads[number], exc) for number, exc in refused.items()], batch.ids)
            prepared = self.prepare_left(prepared, gone)
        return moved, prepared

    def prepare_left(self, prepared: Prepared, gone: Collection[bytes]) -> Prepared:
        """A batch's commit once more, of what its sink was not refused; what failed is in its outcome."""
        return self.prepare(prepared.batch, prepared.outcome, gone)

    async def _send(self, prepared: Prepared, moved: MoveCheckpoint | None) -> Committed:
        """Send the commit until there is a reply; what it did before a reply was lost is still ours."""
        stage, commit, together = self._stage, prepared.commit, prepared.outcome.together
        lost = False

        def note() -> None:
            nonlocal lost
            lost = True

        committer = self._committers[prepared.batch.key]
        committed = await stage.retry_policy.keep_trying(
            lambda: committer.commit(commit, together=together, checkpoint=moved), lost=note
        )
        if lost:
            committed.stale.clear()
            if committed.missing and await self._was_all(commit, committed, moved):
                committed.missing.clear()
        return committed

    async def _was_all(self, commit: Commit, committed: Committed, moved: MoveCheckpoint | None) -> bool:
        """Whether a first try, of which only the reply was lost, did all of it."""
        if moved is None:
            return len(committed.missing) == len(commit)
        client = self._stage.context.server.client
        held = await self._stage.retry_policy.keep_trying(lambda: client.call("HGET", moved.lease, "checkpoint"))
        return held == moved.after.encode() != moved.before.encode()

    async def _without(self, prepared: Prepared, missing: Collection[bytes], gone: Collection[bytes]) -> Prepared:
        """The batch without entries that are not ours any more; what all became together is made of the rest."""
        if not prepared.outcome.together:
            return self.prepare(prepared.batch, prepared.outcome, gone)
        batch = prepared.batch.without(missing)
        return self.prepare(batch, await self.program.run(batch, self.encode))

    def _beside(self, batch: Batch, place: int, became: Became) -> list[Emitted]:
        """What a table leaves beside what it became: dead letters of its bad rows, and pieces that are put back."""
        if not became.bad and not became.pieces:
            return []
        stage, entry = self._stage, batch.entry(place)
        hide, targets = stage.context.topology.public, stage.targets
        rows = [
            (Entry(entry.key, entry.id, fields, entry.deliveries, entry.came_from), exc) for fields, exc in became.bad
        ]
        letters: list[Emitted] = [(targets.dead, dead_fields(row, exc, stage.name, hide)) for row, exc in rows]
        return letters + [(targets.pieces, fields) for fields in became.pieces]

    def _halted(self, entry: Entry, exc: Exception) -> PipelineFailedError:
        error, _ = describe_failure(exc, self._stage.context.topology.public)
        halted = PipelineFailedError(
            f"the stage {self._stage.name!r} halts: the record {entry.id.decode()} failed: {error}"
        )
        halted.__cause__ = exc
        return halted


def put(commit: Commit, entry_id: bytes, records: Sequence[Emitted], changes: Sequence[Change] = ()) -> None:
    """What an entry became, in the shortest form that the commit has for it; raises RecordError for too much."""
    if changes:
        commit.add(entry_id, [*(Forward(*record) for record in records), *changes])
    elif not records:
        commit.ack(entry_id)
    elif len(records) == 1 and len(records[0][1]) == 2 and records[0][1][0] == DATA:
        commit.forward(entry_id, records[0][0], records[0][1][1])
    else:
        commit.emit(entry_id, records)


def delivery_of(stage: StageRuntime, consumer: str) -> Delivery:
    """How a stage without a sink commits; with one, its owner says it (`SinkOwner.open`)."""
    return Delivery(stage, consumer)
