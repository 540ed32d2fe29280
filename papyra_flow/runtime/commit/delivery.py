"""The end of a batch: forward it, or write it to a sink, and acknowledge it, in one commit.

`Delivery` forwards to streams; `SinkDelivery` writes outside first. Both `prepare` a batch, which may be done while
the one before is being committed, and then `commit` it, which hands back the entries that are to be tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from papyra_flow.connectors.base import OpenSink
from papyra_flow.error_text import error_of
from papyra_flow.errors import PipelineFailedError, RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.runtime.commit.sink_errors import write
from papyra_flow.runtime.services.connector_retries import ConnectorRetries
from papyra_flow.runtime.stage.failure import dead_fields, describe_failure
from papyra_flow.runtime.stage.processing import Aside, Processed
from papyra_flow.runtime.stage.router import Emitted, put
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.commit import NOWHERE, Commit, Committed, Committer
from papyra_flow.streams.commit.lease import Lease
from papyra_flow.streams.groups.delayed import fields_to_wait

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log = logging.getLogger("papyra_flow.stage")


@dataclass(slots=True)
class FailureOutcome:
    """What was decided on a batch's failures."""

    again: list[tuple[Entry, float]] = field(default_factory=list)
    later: list[Entry] = field(default_factory=list)
    """Those whose next attempt the server keeps."""
    dead: list[Entry] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)
    halted: tuple[Entry, Exception] | None = None


@dataclass(slots=True)
class Prepared:
    """A batch that waits for its commit; `routed` is how many of the commit's entries did not fail."""

    batch: Batch
    commit: Commit
    routed: int
    fate: FailureOutcome
    failures: Failures = field(default_factory=dict)
    chunks: list[tuple[int, list[bytes]]] = field(default_factory=list)
    """For a sink: what each entry that did not fail became, by its place in the batch."""
    aside: Mapping[int, Aside] = field(default_factory=dict)
    span: Span | None = None
    """The batch's span, where it is traced."""


class Delivery:
    """Forwards a stage's batches, all of one stream each, as one consumer."""

    def __init__(self, stage: StageRuntime, consumer: str) -> None:
        self._stage = stage
        spec, context = stage.spec, stage.context
        # Pieces of tables are put back into the stage's own stream.
        pieces = [context.topology.streams[spec.replay].key] if spec.tables_from == 0 and spec.replay else []
        self._committers = {
            stream.key: Committer(
                context.server.client,
                source=stream.key,
                group=spec.group,
                consumer=consumer,
                probe=context.topology.keys.probe,
                lease=spec.sink_lease if spec.exclusive else None,
                targets=[*(target.key for target in stage.targets), spec.dead_key, *pieces],
                ledger=context.topology.keys.ledger,
                later=context.topology.keys.later(spec.name),
            )
            for stream in stage.inputs
        }
        self._dead_index = len(stage.targets)

    def prepare(self, batch: Batch, processed: Processed) -> Prepared:
        """Route and encode a batch, and decide on what failed: all that can be done before the commit's turn."""
        commit, failures = self._stage.router.route(batch, processed)
        routed = len(commit)
        return Prepared(batch, commit, routed, self._settle(batch, {**processed.failures, **failures}, commit))

    async def commit(self, prepared: Prepared) -> list[tuple[Entry, float]]:
        """Commit a batch; returns the entries to be tried again, and the wait before that in seconds.

        Raises PipelineFailedError for `on_error: halt`, after the rest of the batch was committed.
        """
        stage, counters = self._stage, self._stage.counters
        committed = await self._commit(prepared.batch.key, prepared.commit)
        counts = prepared.commit.tally(prepared.routed, committed.stale)
        reserved = len(prepared.batch) if prepared.batch.fresh else 0
        for number, target in enumerate(stage.targets):
            if count := counts[number]:
                counters.emitted[target.name] += count
            stage.context.gates.spend(target.name, count, reserved)
        counters.dropped += counts[NOWHERE]
        self._count(prepared.fate, committed)
        return prepared.fate.again

    async def _commit(self, key: str, commit: Commit, *, together: bool = False) -> Committed:
        stage = self._stage
        lost = False

        def note() -> None:
            nonlocal lost
            lost = True

        committed = await stage.retry_policy.keep_trying(
            lambda: self._committers[key].commit(commit, together=together), lost=note
        )
        if lost:
            # What the first try had acked is not ours in the second: it was ours all the same.
            committed.stale.clear()
            if len(committed.missing) == len(commit):
                committed.missing.clear()
        stage.context.trimmer.acked(key, committed.acked)
        stage.context.gates.relieve(stage.stream_of[key])
        return committed

    def _settle(self, batch: Batch, failures: Failures, commit: Commit) -> FailureOutcome:
        """Decide on every failure, and put the dead and the dropped into the commit."""
        fate = FailureOutcome()
        for place, exc in failures.items():
            entry = batch.entry(place)
            verdict = self._stage.policy.judge(entry, exc)
            if verdict.kept and commit.wait(entry.id, int(verdict.delay * 1000), fields_to_wait(entry)):
                fate.later.append(entry)
            elif verdict.action == "retry":
                fate.again.append((entry, verdict.delay))
            elif verdict.action == "dead":
                hide = self._stage.context.topology.public
                commit.emit(entry.id, [(self._dead_index, dead_fields(entry, exc, self._stage.name, hide))])
                fate.dead.append(entry)
            elif verdict.action == "drop":
                commit.ack(entry.id)
                fate.dropped.append(entry)
            else:
                fate.halted = fate.halted or (entry, exc)
        return fate

    def _beside(self, entry: Entry, aside: Aside | None) -> list[Emitted]:
        """What a table leaves beside what it became: dead letters of its bad rows, and pieces that are put back."""
        if aside is None:
            return []
        name, hide = self._stage.name, self._stage.context.topology.public
        rows = [
            (Entry(entry.key, entry.id, fields, entry.deliveries, entry.came_from), exc) for fields, exc in aside.bad
        ]
        letters: list[Emitted] = [(self._dead_index, dead_fields(row, exc, name, hide)) for row, exc in rows]
        return letters + [(self._dead_index + 1, fields) for fields in aside.pieces]

    def _count(self, fate: FailureOutcome, committed: Committed) -> None:
        counters, stale = self._stage.counters, committed.stale
        counters.retried += len(fate.again) + sum(entry.id not in stale for entry in fate.later)
        counters.dead += sum(entry.id not in stale for entry in fate.dead)
        counters.dropped += sum(entry.id not in stale for entry in fate.dropped)
        counters.stale += len(stale)
        if stale:
            _log.info("%s: %d entries had been committed by another consumer", self._stage.name, len(stale))
        if fate.halted is not None:
            entry, exc = fate.halted
            error, _ = describe_failure(exc, self._stage.context.topology.public)
            raise PipelineFailedError(
                f"the stage {self._stage.name!r} halts: the record {entry.id.decode()} failed: {error}"
            ) from exc


def delivery_of(stage: StageRuntime, consumer: str) -> Delivery:
    """How a stage forwards what it made."""
    if stage.spec.tables_from is None:
        return Delivery(stage, consumer)
    from papyra_flow.runtime.stage.table_stage import delivery_of as delivery_of_tables

    return delivery_of_tables(stage, consumer)


class SinkDelivery(Delivery):
    """Writes a stage's batches to its sink and then acknowledges them.

    For an exclusive sink the acks and the sink's checkpoint are one commit, all or nothing: a crash in between
    leaves the entries pending, and the next start takes back what was written for them.
    """

    def __init__(
        self, stage: StageRuntime, consumer: str, sink: OpenSink, lease: Lease | None, retries: ConnectorRetries
    ) -> None:
        super().__init__(stage, consumer)
        self._sink = sink
        self._retries = retries
        self._lease = lease

    def prepare(self, batch: Batch, processed: Processed) -> Prepared:
        """Encode a batch for the sink, and decide on what failed."""
        rows, failures = processed.rows or Rows([], ()), processed.failures
        data = batch.values() if processed.raw else None
        chunks: dict[int, list[bytes]] = {}
        for origin, record in zip(rows.origins, rows.records, strict=True):
            try:
                chunk = self._sink.encode(record, data[origin] if data is not None else None)
            except RecordError as exc:
                failures[origin] = exc
            except (ValueError, TypeError, RecursionError, OverflowError) as exc:  # a value that the format has not
                failures[origin] = RecordError(f"the record cannot be written: {error_of(exc)}")
            else:
                chunks.setdefault(origin, []).append(chunk)
        prepared = Prepared(batch, Commit(), 0, FailureOutcome(), failures, aside=processed.aside)
        prepared.chunks = [(place, chunks.get(place, [])) for place in range(len(batch)) if place not in failures]
        return prepared

    async def commit(self, prepared: Prepared) -> list[tuple[Entry, float]]:
        """As `Delivery.commit`; raises FencedError if somebody else owns the sink by now.

        What is not ours any more is left out, and the rest written and committed anew.
        """
        batch, counters, gone = prepared.batch, self._stage.counters, set[bytes]()
        while True:
            kept, commit, fate = self._made(prepared, gone)
            places = [place for place, chunks in kept for _ in chunks]
            payloads = [(batch.ids[place], chunk) for place, chunks in kept for chunk in chunks]
            written = await write(self._sink, payloads, batch, self._retries, self._stage.context.stopping.is_set)
            if written.refused:
                prepared.failures |= {places[number]: exc for number, exc in written.refused.items()}
                kept, commit, fate = self._made(prepared, gone)
            committed = await self._commit_sink(batch.key, commit, written.checkpoint)
            if not committed.missing:
                break
            gone |= committed.missing
            counters.stale += len(committed.missing)
        self._sink.committed()
        for place, chunks in kept:
            if batch.ids[place] not in committed.stale:
                counters.written += len(chunks)
                aside = prepared.aside.get(place)
                counters.dropped += aside.dropped if aside is not None else not chunks
                counters.dead += len(aside.bad) if aside is not None else 0
        self._count(fate, committed)
        return fate.again

    def _made(
        self, prepared: Prepared, gone: Collection[bytes]
    ) -> tuple[list[tuple[int, list[bytes]]], Commit, FailureOutcome]:
        """What is to be written, by the place of its entry, the commit of it, and what is decided on the failures."""
        batch, failed, commit = prepared.batch, prepared.failures, Commit()
        kept = [(place, chunks) for place, chunks in prepared.chunks if place not in failed]
        kept = [(place, chunks) for place, chunks in kept if batch.ids[place] not in gone]
        for place, _ in kept:
            put(commit, batch.ids[place], self._beside(batch.entry(place), prepared.aside.get(place)))
        failures = {place: exc for place, exc in failed.items() if batch.ids[place] not in gone}
        return kept, commit, self._settle(batch, failures, commit)

    async def _commit_sink(self, key: str, commit: Commit, checkpoint: str) -> Committed:
        if self._lease is None:
            return await self._commit(key, commit)
        stage, lease, client = self._stage, self._lease, self._stage.context.server.client
        lost = False

        def note() -> None:
            nonlocal lost
            lost = True

        committed = await stage.retry_policy.keep_trying(
            lambda: self._committers[key].commit(
                commit, epoch=lease.epoch, before=lease.checkpoint, checkpoint=checkpoint
            ),
            lost=note,
        )
        if committed.missing and lost:
            held = await stage.retry_policy.keep_trying(lambda: client.call("HGET", lease.key, "checkpoint"))
            if held == checkpoint.encode() != lease.checkpoint.encode():
                committed.missing.clear()  # the first try did it all, only its reply was lost
        if not committed.missing:
            lease.checkpoint = checkpoint
            stage.context.trimmer.acked(key, committed.acked)
            stage.context.gates.relieve(stage.stream_of[key])
        return committed
