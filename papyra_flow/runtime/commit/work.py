"""The work on a batch, from its entries to its commit: run, prepare, commit; timed, and traced if wanted."""

from __future__ import annotations

from time import perf_counter

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import RecordError
from papyra_flow.observe.telemetry import TRACEPARENT
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.commit.delivery import Delivery
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.stage.failure import is_killer
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.delayed import opened


async def prepare(stage: StageRuntime, delivery: Delivery, batch: Batch) -> Prepared:
    """Run a batch through its stage, and make its commit ready."""
    telemetry = stage.context.telemetry
    span = telemetry.begin(stage.spec, batch) if telemetry is not None else None
    first = batch.entry(0)
    if batch.key == stage.replay_key:
        batch = opened(batch)
    outcome = await _run(stage, batch, first, delivery.encode)
    if batch.fresh:
        stage.counters.read += outcome.rows
    prepared = delivery.prepare(batch, outcome)
    stage.timing.mark(batch, prepared.commit)
    if telemetry is not None and span is not None:
        prepared.span = span
        if (parent := telemetry.traceparent(span)) is not None:
            prepared.commit.mark_all(TRACEPARENT, parent, stage.targets.with_headers)
    return prepared


async def commit(delivery: Delivery, prepared: Prepared) -> list[tuple[Entry, float]]:
    """Commit it; returns the entries to be tried again, and the wait before that in seconds."""
    try:
        return await delivery.commit(prepared)
    finally:
        if prepared.span is not None:
            prepared.span.end()


async def _run(stage: StageRuntime, batch: Batch, entry: Entry, encode: Encode | None) -> Outcome:
    if is_killer(entry, stage.spec.settings.attempts):
        error = RecordError(
            f"delivered {entry.deliveries} times without completing: it appears to crash the worker that processes it"
        )
        return stage.program.give_up(batch, error)
    started = perf_counter()
    outcome = await stage.program.run(batch, encode)
    if stage.spec.steps and stage.context.belongings is not None:
        stage.context.belongings.look(stage.name)
    stage.timing.processed(batch, perf_counter() - started)
    return outcome
