"""What follows a commit, in one place: backpressure, trimming, counts, timing."""

from __future__ import annotations

import logging

from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.commit import Committed

_log = logging.getLogger("papyra_flow.stage")


def after_commit(stage: StageRuntime, prepared: Prepared, committed: Committed, reserved: int, seconds: float) -> None:
    """Tell all beside the loop that a batch was committed, for which room for `reserved` records had been kept."""
    context, counters, stale = stage.context, stage.counters, committed.stale
    batch, fate = prepared.batch, prepared.fate
    left = prepared.outcome.tally(batch.ids, stale)

    # 1. Backpressure: what was written takes room, what was acknowledged makes some.
    entries = stage.targets.by_name(left.entries)
    for name in stage.outputs:
        context.gates.spend(name, entries.get(name, 0), reserved)
    context.gates.relieve(stage.stream_of[batch.key])

    # 2. Retention: what was acknowledged may be trimmed.
    context.trimmer.acked(batch.key, committed.acked)

    # 3. Counts: what left, and what became of failures.
    records = entries if left.records is left.entries else stage.targets.by_name(left.records)
    for name, count in records.items():
        counters.emitted[name] += count
    counters.written += left.written
    counters.dropped += left.dropped
    counters.dead += left.bad
    if prepared.outcome.failures:
        counters.dropped += sum(entry.id not in stale for entry in fate.dropped)
        counters.dead += sum(entry.id not in stale for entry in fate.dead)
        counters.retried += sum(entry.id not in stale for entry in fate.later)
    if fate.again:
        # Of a batch that was cut short only the first of the rest failed: what is behind it just waits.
        counters.retried += len(fate.again) if prepared.read is None else 1
    if stale:
        counters.stale += len(stale)
        _log.info("%s: %d entries were already committed by another consumer", stage.name, len(stale))

    # 4. Timing.
    stage.timing.committed(batch, seconds)
