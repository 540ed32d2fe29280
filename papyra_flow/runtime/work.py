"""The work on a batch, from its entries to its commit: process, prepare, commit; timed, and traced if wanted.

What does not live here: when a batch's turn comes (`consumer`), the steps (`processing`), the commit (`delivery`).
"""

from __future__ import annotations

from time import perf_counter

from papyra_flow.errors import RecordError
from papyra_flow.observe.telemetry import TRACEPARENT
from papyra_flow.runtime.delivery import Delivery, Prepared
from papyra_flow.runtime.processing import Processed
from papyra_flow.runtime.stage import StageRuntime
from papyra_flow.runtime.suspects import is_killer
from papyra_flow.streams.batch import Batch
from papyra_flow.streams.entries import Entry
from papyra_flow.streams.waiting import opened


async def prepare(stage: StageRuntime, delivery: Delivery, batch: Batch) -> Prepared:
    """Process a batch, and make its commit ready."""
    telemetry = stage.around.telemetry
    span = telemetry.begin(stage.spec, batch) if telemetry is not None else None
    first = batch.entry(0)
    if batch.key == stage.replay_key:
        batch = opened(batch)
    prepared = delivery.prepare(batch, await _process(stage, batch, first))
    stage.stopwatch.mark(batch, prepared.commit)
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
    stage.stopwatch.committed(prepared.batch, perf_counter() - started)
    return again


async def _process(stage: StageRuntime, batch: Batch, entry: Entry) -> Processed:
    if is_killer(entry, stage.spec.settings.attempts):
        error = RecordError(
            f"delivered {entry.deliveries} times without ever coming to an end: it ends the worker that runs it"
        )
        return stage.processor.give_up(batch, error)
    started = perf_counter()
    processed = await stage.processor.process(batch)
    if stage.spec.steps and stage.around.belongings is not None:
        stage.around.belongings.look(stage.name)
    stage.stopwatch.processed(batch, perf_counter() - started)
    return processed
