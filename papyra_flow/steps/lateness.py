"""What is late: a record that lies further behind the watermark than its step's `grace` allows."""

from __future__ import annotations

from papyra_flow.spec.units import format_duration
from papyra_flow.steps.keyed import Late


def milliseconds(seconds: float) -> int:
    """A duration as state has it."""
    return round(seconds * 1000)


def late(time: int, watermark: int, grace: int) -> Late:
    """The outcome of a record of that time."""
    behind, allowed = (format_duration(span / 1000) for span in (watermark - time, grace))
    return Late(f"the record is {behind} behind the watermark (`grace` is {allowed})")


def late_stream(late_to: str) -> str | None:
    """The stream that `late_to` names; None for what is no stream."""
    return None if late_to in {"dead", "drop"} else late_to
