"""Words for settings, as `plan` and the pictures say them."""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.spec.units import format_duration
from papyra_flow.topology.model import StreamSpec


def retention_words(stream: StreamSpec) -> str:
    """A stream's retention, as a person says it."""
    if stream.external:
        return "never trimmed (not ours)"
    if stream.retain == "all":
        return "kept"
    if isinstance(stream.retain, float):
        return f"acked entries kept for {format_duration(stream.retain)}"
    return "trimmed once every group has acked"


def partition_words(partitions: int | None, by: Sequence[str]) -> str | None:
    """What a stream's partitions are, as a person says it; None for one that has none."""
    return f"{partitions} partitions by {', '.join(by)}" if partitions is not None else None
