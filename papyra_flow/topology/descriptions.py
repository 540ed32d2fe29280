"""Words for settings, as `plan` and the pictures say them."""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.spec.units import format_duration
from papyra_flow.steps.keyed import Keyed
from papyra_flow.topology.model import StageSpec
from papyra_flow.topology.streams import StreamSpec


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


def state_words(stage: StageSpec, keyed: Keyed | None) -> str:
    """What a stage with owners keeps, as a person says it: `state by customer, 1m windows`.

    `keyed` is its step with state, as far as that can be known.
    """
    if stage.keyed_step is None:
        return "in order"
    if keyed is None:
        return "state"
    key = list(keyed.partition_by)
    for stream, texts in keyed.partition_by_stream.items():
        key.append(f"{stream}: {', '.join(texts)}")
    kept = f"state by {', '.join(key)}" if key else "state of all records together"
    return f"{kept}, {keyed.windows}" if keyed.windows is not None else kept
