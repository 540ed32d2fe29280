"""Durations and sizes on the command line, as a pipeline's file writes them."""

from __future__ import annotations

from papyra_flow.errors import UsageError


def duration(text: str, option: str) -> float:
    """Seconds; raises UsageError that names the option."""
    from papyra_flow.spec.units import parse_duration

    try:
        return parse_duration(0 if text == "0" else text)
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}") from None


def size(text: str, option: str) -> int:
    """Bytes; raises UsageError that names the option."""
    from papyra_flow.spec.units import parse_size

    try:
        return parse_size(0 if text == "0" else text)
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}") from None
