"""Values with a unit, as a pipeline file writes them: durations, sizes, backoff ranges.

Durations become seconds (float), sizes bytes (int). A bare number has no unit and is refused, except 0,
because it is ambiguous whether `wait: 20` means milliseconds or seconds.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {
    "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3,
    "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
}  # fmt: skip
_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def parse_duration(value: object) -> float:
    """Seconds from `20ms`, `5s`, `1.5h` or `0`; raises ValueError for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    return _quantity(value, _DURATION_UNITS, "a duration such as 20ms, 5s or 1h")


def parse_size(value: object) -> int:
    """Bytes from `64KiB`, `10MB` or `0`; raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return 0
    return int(_quantity(value, _SIZE_UNITS, "a size such as 64KiB or 10MB"))


def is_entry_id(text: str) -> bool:
    """Whether a text is an entry id, its sequence left out or not: two numbers of 64 bits."""
    match = _ENTRY_ID.fullmatch(text)
    return match is not None and all(int(part) < 2**64 for part in match.groups("0"))


def _quantity(value: object, units: dict[str, float] | dict[str, int], expected: str) -> float:
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"expected {expected}, not {value!r}")
    return float(match[1]) * units[match[2]]


def format_duration(seconds: float) -> str:
    """A duration as a file would write it: 0.02 becomes `20ms`, 90 becomes `90s`."""
    if seconds == 0:
        return "0"
    for unit, size in (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= size and round(seconds / size, 6) % 1 == 0:
            return f"{round(seconds / size)}{unit}"
    return f"{seconds * 1000:g}ms"


def format_size(size: int) -> str:
    """A size as a file would write it, in the largest unit that it is a whole number of: 65536 becomes `64KiB`."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B" if size else "0"


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before the first retry and the longest one, in seconds; it doubles in between."""

    first: float
    longest: float

    def __str__(self) -> str:
        return f"{format_duration(self.first)}..{format_duration(self.longest)}"

    def wait(self, attempts: int) -> float:
        """Seconds before the next attempt, with full jitter above half of them: failures do not return as one wave."""
        longest = min(self.longest, self.first * 2.0 ** min(attempts - 1, 32))
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - not for secrets


def parse_backoff(value: object) -> Backoff:
    """A backoff from `200ms..30s`, or from one duration that is then used each time."""
    if isinstance(value, Backoff):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected a range such as 200ms..30s, not {value!r}")
    first, dots, longest = value.partition("..")
    backoff = Backoff(parse_duration(first), parse_duration(longest if dots else first))
    if backoff.longest < backoff.first:
        raise ValueError(f"the backoff {value!r} is longer at first than at last")
    return backoff


def written_duration(seconds: float) -> str | int:
    """A duration as a file would write it, and without any loss."""
    told = format_duration(seconds)
    exact = parse_duration(told if seconds else 0) == seconds
    return (told if seconds else 0) if exact else f"{seconds:.17f}s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(written_duration, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["20ms", "5s", "1h", 0]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(lambda size: f"{size}B" if size else 0, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["64KiB", "10MB", 0]}),
]
BackoffRange = Annotated[
    Backoff,
    BeforeValidator(parse_backoff),
    PlainSerializer(
        lambda backoff: "..".join(f"{written_duration(one) or '0s'}" for one in (backoff.first, backoff.longest)),
        when_used="json",
    ),
    WithJsonSchema({"type": "string", "examples": ["200ms..30s"]}),
]
