"""The work on a batch, from its entries to its commit: prepare and commit, traced if wanted."""

from __future__ import annotations

from papyra_flow.observe.telemetry import TRACEPARENT
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.commit.delivery import Delivery
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.delayed import opened


async def prepare(stage: StageRuntime, delivery: Delivery, batch: Batch) -> Prepared:
    """Run a batch through its stage, and make its commit ready."""
    telemetry = stage.context.telemetry
    span = telemetry.begin(stage.spec, batch) if telemetry is not None and batch else None
    if batch.key in stage.replay_keys:
        batch = opened(batch)
    prepared = await delivery.work(batch)
    if batch.fresh:
        stage.counters.read += prepared.outcome.rows
    stage.timing.mark(prepared.batch, prepared.commit)
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
