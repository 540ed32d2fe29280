"""The end of a batch: forward it, or write it to a sink, and acknowledge it, in one commit.

`Delivery` forwards to streams; `SinkDelivery` writes outside first. Both hand back the entries that are to be
tried again. What does not live here: reading and retrying (`consumer`), the script (`papyra_flow.streams`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from papyra_flow.connectors.base import Sink
from papyra_flow.errors import PipelineFailedError, RecordError
from papyra_flow.runtime.failure import dead_fields, describe_failure
from papyra_flow.runtime.processing import Processed
from papyra_flow.runtime.stage import StageRuntime
from papyra_flow.streams.commit import Commit, Committed, Committer
from papyra_flow.streams.entries import Entry
from papyra_flow.streams.lease import Lease

_log = logging.getLogger("papyra_flow.stage")


class Delivery:
    """Forwards a stage's batches, all of one stream each, as one consumer."""

    def __init__(self, stage: StageRuntime, consumer: str) -> None:
        self._stage = stage
        spec, around = stage.spec, stage.around
        self._committers = {
            stream.key: Committer(
                around.server.wire,
                source=stream.key,
                group=spec.group,
                consumer=consumer,
                probe=around.topology.keys.probe,
                lease=spec.lease_key if spec.exclusive else None,
                targets=[*(target.key for target in stage.targets), spec.dead_key],
            )
            for stream in stage.inputs
        }
        self._dead_index = len(stage.targets)

    async def deliver(self, entries: Sequence[Entry], processed: Processed) -> list[tuple[Entry, float]]:
        """Commit a batch; returns the entries to be tried again, and the wait before that in seconds.

        Raises PipelineFailedError for `on_error: halt`, after the rest of the batch was committed.
        """
        stage, counters = self._stage, self._stage.counters
        routed = stage.router.route(entries, processed)
        failed = {**processed.failed, **routed.failed}
        fate = self._settle(failed, routed.commit)
        committed = await self._commit(entries[0].key, routed.commit)
        if committed.stale:
            stale = [entry for entry in routed.entries if entry.id in committed.stale]
            lost = stage.router.route(stale, Processed([i for i in processed.items if i.entry in stale], {}))
            routed.counts = [count - less for count, less in zip(routed.counts, lost.counts, strict=True)]
            routed.dropped -= lost.dropped
        for target, count in zip(stage.targets, routed.counts, strict=True):
            if count:
                counters.emitted[target.name] += count
                stage.around.gates.spend(target.name, count)
        counters.dropped += routed.dropped
        self._count(fate, committed)
        return fate.again

    async def _commit(self, key: str, commit: Commit) -> Committed:
        stage = self._stage
        lost = False

        def note() -> None:
            nonlocal lost
            lost = True

        committed = await stage.patience.keep_trying(lambda: self._committers[key].commit(commit), lost=note)
        if lost:
            # What the first try had acked is not ours in the second: it was ours all the same.
            committed.stale.clear()
        stage.around.trimmer.touch(key)
        stage.around.gates.relieve(stage.stream_of[key])
        return committed

    def _settle(self, failed: dict[Entry, Exception], commit: Commit) -> _Fate:
        """Decide on every failure, and put the dead and the dropped into the commit."""
        fate = _Fate()
        for entry, exc in failed.items():
            verdict = self._stage.policy.judge(entry, exc)
            if verdict.action == "retry":
                fate.again.append((entry, verdict.delay))
            elif verdict.action == "dead":
                commit.emit(entry.id, [(self._dead_index, dead_fields(entry, exc, self._stage.name))])
                fate.dead.append(entry)
            elif verdict.action == "drop":
                commit.ack(entry.id)
                fate.dropped.append(entry)
            else:
                fate.halted = fate.halted or (entry, exc)
        return fate

    def _count(self, fate: _Fate, committed: Committed) -> None:
        counters, stale = self._stage.counters, committed.stale
        counters.retried += len(fate.again)
        counters.dead += sum(entry.id not in stale for entry in fate.dead)
        counters.dropped += sum(entry.id not in stale for entry in fate.dropped)
        counters.stale += len(stale)
        if stale:
            _log.info("%s: %d entries had been committed by another consumer", self._stage.name, len(stale))
        if fate.halted is not None:
            entry, exc = fate.halted
            raise PipelineFailedError(
                f"the stage {self._stage.name!r} halts: the record {entry.id.decode()} failed: {describe_failure(exc)[0]}"
            ) from exc


class SinkDelivery(Delivery):
    """Writes a stage's batches to its sink and then acknowledges them.

    For an exclusive sink the acks and the sink's checkpoint are one commit, all or nothing: a crash in between
    leaves the entries pending, and the next start takes back what was written for them.
    """

    def __init__(self, stage: StageRuntime, consumer: str, sink: Sink, lease: Lease | None) -> None:
        super().__init__(stage, consumer)
        self._sink = sink
        self._lease = lease

    async def deliver(self, entries: Sequence[Entry], processed: Processed) -> list[tuple[Entry, float]]:
        """As `Delivery.deliver`; raises FencedError if somebody else owns the sink by now."""
        failed = dict(processed.failed)
        chunks: dict[Entry, list[bytes]] = {}
        for item in processed.items:
            try:
                raw = item.entry.data if item.raw else None
                chunks.setdefault(item.entry, []).append(self._sink.encode(item.value, raw))
            except RecordError as exc:
                failed[item.entry] = exc
        present = list(entries)
        while True:
            commit = Commit()
            fate = self._settle({entry: exc for entry, exc in failed.items() if entry in present}, commit)
            kept = [entry for entry in present if entry not in failed]
            for entry in kept:
                commit.ack(entry.id)
            checkpoint = await self._sink.write(
                [(entry.id, chunk) for entry in kept for chunk in chunks.get(entry, [])]
            )
            committed = await self._commit_sink(entries[0].key, commit, checkpoint)
            if not committed.missing:
                break
            present = [entry for entry in present if entry.id not in committed.missing]
            self._stage.counters.stale += len(committed.missing)
        self._sink.committed()
        done = [entry for entry in kept if entry.id not in committed.stale]
        self._stage.counters.written += sum(len(chunks.get(entry, [])) for entry in done)
        self._stage.counters.dropped += sum(entry not in chunks for entry in done)
        self._count(fate, committed)
        return fate.again

    async def _commit_sink(self, key: str, commit: Commit, checkpoint: str) -> Committed:
        if self._lease is None:
            return await self._commit(key, commit)
        stage, lease, wire = self._stage, self._lease, self._stage.around.server.wire
        lost = False

        def note() -> None:
            nonlocal lost
            lost = True

        committed = await stage.patience.keep_trying(
            lambda: self._committers[key].commit(commit, epoch=lease.epoch, checkpoint=checkpoint), lost=note
        )
        if committed.missing and lost:
            held = await stage.patience.keep_trying(lambda: wire.call("HGET", lease.key, "checkpoint"))
            if held == checkpoint.encode() != lease.checkpoint.encode():
                committed.missing.clear()  # the first try did it all, only its reply was lost
        if not committed.missing:
            lease.checkpoint = checkpoint
            stage.around.trimmer.touch(key)
            stage.around.gates.relieve(stage.stream_of[key])
        return committed


class _Fate:
    """What was decided on a batch's failures."""

    __slots__ = ("again", "dead", "dropped", "halted")

    def __init__(self) -> None:
        self.again: list[tuple[Entry, float]] = []
        self.dead: list[Entry] = []
        self.dropped: list[Entry] = []
        self.halted: tuple[Entry, Exception] | None = None


