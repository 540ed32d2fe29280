"""The work on a batch, from its entries to its commit: process, prepare, commit; timed, and traced if wanted."""

from __future__ import annotations

from time import perf_counter

from papyra_flow.errors import RecordError
from papyra_flow.observe.telemetry import TRACEPARENT
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.commit.delivery import Delivery, Prepared
from papyra_flow.runtime.consumer.quarantine import is_killer
from papyra_flow.runtime.stage.processing import Processed
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.delayed import opened


async def prepare(stage: StageRuntime, delivery: Delivery, batch: Batch) -> Prepared:
    """Process a batch, and make its commit ready."""
    telemetry = stage.context.telemetry
    span = telemetry.begin(stage.spec, batch) if telemetry is not None else None
    first = batch.entry(0)
    if batch.key == stage.replay_key:
        batch = opened(batch)
    prepared = delivery.prepare(batch, await _process(stage, batch, first))
    stage.timing.mark(batch, prepared.commit)
    if telemetry is not None and span is not None:
        prepared.span = span
        if (parent := telemetry.traceparent(span)) is not None:
            prepared.commit.mark_all(TRACEPARENT, parent, stage.marks)
    return prepared


async def commit(stage: StageRuntime, delivery: Delivery, prepared: Prepared) -> list[tuple[Entry, float]]:
    """Commit it; returns the entries to be tried again, and the wait before that in seconds."""
    started = perf_counter()
    try:
        again = await delivery.commit(prepared)
    finally:
        if prepared.span is not None:
            prepared.span.end()
    stage.timing.committed(prepared.batch, perf_counter() - started)
    return again


async def _process(stage: StageRuntime, batch: Batch, entry: Entry) -> Processed:
    if is_killer(entry, stage.spec.settings.attempts):
        error = RecordError(
            f"delivered {entry.deliveries} times without ever coming to an end: it ends the worker that runs it"
        )
        return stage.processor.give_up(batch, error)
    started = perf_counter()
    processed = await stage.processor.process(batch)
    if stage.spec.steps and stage.context.belongings is not None:
        stage.context.belongings.look(stage.name)
    stage.timing.processed(batch, perf_counter() - started)
    return processed
