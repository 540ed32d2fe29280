"""The figures of a stage with owners, under the names of `status --json` and `state --json`."""

from __future__ import annotations

from papyra_flow.errors import RecordError
from papyra_flow.state.event_time import iso_time
from papyra_flow.streams.admin.partitions import PartitionPosition, PartitionsSnapshot
from papyra_flow.topology.model import StageSpec


def stage_document(stage: StageSpec, there: PartitionsSnapshot) -> dict[str, object]:
    """What `status --json` says of a stage's partitions, and of the state that it keeps."""
    document: dict[str, object] = {"partitions": len(there.partitions), "owners": there.owners}
    if stage.keyed_step is not None:
        document |= {
            "state_entries": there.entries, "state_bytes": there.bytes, "watermark": time_text(there.watermark),
            "watermark_delay_ms": there.delay_ms,
        }  # fmt: skip
    return document


def partition_document(one: PartitionPosition, now: int) -> dict[str, object]:
    """What `state --json` says of a partition; `now` is the server's time."""
    return {
        "partition": one.number,
        "owner": one.owner if one.alive else None,
        "silent_ms": one.silent_ms,
        "positions": dict(one.positions),
        "watermark": time_text(one.watermark),
        "watermark_delay_ms": None if one.watermark is None else max(0, now - one.watermark),
        "entries": one.entries,
        "bytes": one.bytes,
        "timers": one.timers,
        "lost": one.lost,
    }


def time_text(milliseconds: int | None) -> str | None:
    """A watermark in ISO 8601; None where there is none yet, or time has ended."""
    try:
        return None if milliseconds is None else iso_time(milliseconds)
    except RecordError:
        return None
