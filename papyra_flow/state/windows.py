"""Windows: how a file writes them, and which of them an event time is in.

A window is `[start, end)`, in milliseconds since 1970. Those of a size are aligned to the epoch, shifted by an offset;
with a time zone their bounds are what its clocks show (`local_windows`). Sessions and windows of a count have no bounds
of their own: what is in them decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from papyra_flow.errors import RecordError
from papyra_flow.spec.units import Duration, format_duration
from papyra_flow.state.event_time import FIRST_TIME, LAST_TIME

MOST_WINDOWS = 1000
"""Windows that a record may be in: each is a value that is written for it."""


class Window(BaseModel):
    """Which records are counted together: those of a time, of a session, or so many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Duration | None = Field(None, description="How long a window is; one begins where the last one ends.")
    every: Duration | None = Field(None, description="How often a window begins, where they overlap (hopping windows).")
    gap: Duration | None = Field(None, description="A session ends when no record came for so long.")
    count: int | None = Field(None, ge=1, le=1_000_000, description="A window is full when it has so many records.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [name for name in ("size", "gap", "count") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError("a window has either `size`, `gap` or `count`")
        if self.every is not None and self.size is None:
            raise ValueError("`every` stands beside `size`: {size: 5m, every: 1m}")
        for name in ("size", "every", "gap"):
            if (given := getattr(self, name)) is not None:
                whole_milliseconds(given, name)
        if self.size is not None and self.every is not None:
            self._check_hops(self.size, self.every)
        return self

    @staticmethod
    def _check_hops(size: float, every: float) -> None:
        if every > size:
            raise ValueError("`every` is at most `size`: records between two windows would be in none")
        if (windows := -(-size // every)) > MOST_WINDOWS:
            raise ValueError(f"each record would be in {windows:,.0f} windows: make `every` at least "
                             f"{format_duration(size / MOST_WINDOWS)}")  # fmt: skip

    def __str__(self) -> str:
        if self.count is not None:
            return f"{self.count} records"
        if self.gap is not None:
            return f"sessions, gap {format_duration(self.gap)}"
        every = f" every {format_duration(self.every)}" if self.every is not None else ""
        return f"{format_duration(self.size or 0)}{every}"

    @property
    def words(self) -> str:
        """What all of them are: `1m windows`, `windows of 100 records`."""
        if self.size is None:
            return str(self) if self.gap is not None else f"windows of {self}"
        every = f", one every {format_duration(self.every)}" if self.every is not None else ""
        return f"{format_duration(self.size)} windows{every}"


def _normal(value: object) -> object:
    return value if isinstance(value, Mapping | Window) else {"size": value}


_MAPPING = {**Window.model_json_schema(), "title": "mapping"}

WindowForm = Annotated[
    Window,
    BeforeValidator(_normal),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["1m", "1d"]}, _MAPPING]}),
]
"""A window as a file writes it: a size, or a mapping."""


def whole_milliseconds(seconds: float, name: str) -> int:
    """A duration in milliseconds; raises ValueError for one that is not a whole number of them, or none at all."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1 or abs(seconds * 1000 - milliseconds) > 1e-6 * milliseconds:
        raise ValueError(f"`{name}` is a whole number of milliseconds, and at least one")
    return milliseconds


class TimeWindows(Protocol):
    """Windows whose bounds are known from a time alone."""

    @property
    def overlap(self) -> bool:
        """Whether a time is in more than one of them."""

    def starts_of(self, time: int) -> Sequence[int]:
        """The starts of the windows that a time is in, in order; raises RecordError beyond the years 1 to 9999."""

    def end_of(self, start: int) -> int:
        """Where the window that begins there ends."""


class EvenWindows:
    """Windows that are all as long, one every so often; tumbling ones begin where the last one ends."""

    def __init__(self, size: int, every: int | None = None, offset: int = 0) -> None:
        self._size = size
        self._every = every or size
        self._offset = offset % self._every

    @property
    def overlap(self) -> bool:
        """Whether a time is in more than one of them."""
        return self._every < self._size

    def starts_of(self, time: int) -> Sequence[int]:
        """The starts of the windows that a time is in, in order."""
        last = time - (time - self._offset) % self._every
        first = last if not self.overlap else last - (last + self._size - 1 - time) // self._every * self._every
        check_bounds(first, last + self._size)
        return range(first, last + 1, self._every)

    def end_of(self, start: int) -> int:
        """Where the window that begins there ends."""
        return start + self._size


def check_bounds(start: int, end: int) -> None:
    """Raise RecordError for a window that has no bounds in ISO 8601."""
    if start < FIRST_TIME or end > LAST_TIME:
        raise RecordError("the record's window is not within the years 1 to 9999")
