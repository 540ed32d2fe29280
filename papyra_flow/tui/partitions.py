"""The partitions of a stage with owners, a line each."""

from __future__ import annotations

from collections.abc import Iterator

from papyra_flow.spec.units import format_duration
from papyra_flow.streams.admin.partitions import PartitionsSnapshot

SHOWN = 16


def partition_lines(there: PartitionsSnapshot) -> Iterator[str]:
    """Who owns which, what is kept there, and how far event time is behind."""
    for one in there.partitions[:SHOWN]:
        words = [f"partition {one.number}", one.owner if one.alive else "no owner"]
        if one.entries or one.timers:
            words.append(f"state {one.entries:,}  timers {one.timers:,}")
        if one.watermark is not None:
            words.append(f"watermark {format_duration(max(0, (there.now - one.watermark) // 1000))} behind")
        yield "  ".join(words)
    if (more := len(there.partitions) - SHOWN) > 0:
        yield f"and {more} more"
