"""Which rows of a batch are in which window, and which came too late for theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from papyra_flow.errors import RecordError
from papyra_flow.state.event_time import END_OF_TIME, iso_time
from papyra_flow.state.windows import TimeWindows
from papyra_flow.steps.aggregating.columns import Columns
from papyra_flow.steps.keyed import KEPT, Late


class Place(NamedTuple):
    """A window, and the rows of a batch that are in it, by their groups' fields of state."""

    start: int | None
    """None for the window for ever."""
    closes: int
    """Where the watermark closes it."""
    groups: dict[bytes, list[int]]


@dataclass(slots=True)
class Placed:
    """A batch with its rows in their windows; those that are in none have an outcome already."""

    columns: Columns
    outcomes: list[object]
    places: Sequence[Place]


class Placing:
    """Windows of a time, or the one for ever, with how long they stay open."""

    def __init__(self, windows: TimeWindows | None, grace: int, *, keyed: bool) -> None:
        self._windows = windows
        self._grace = grace
        self._behind = b",%d]" if keyed else b"%d]"
        """What is behind a key in a field of state: the start of a window."""

    def closes(self, start: int | None) -> int:
        """Where the watermark closes a window."""
        return END_OF_TIME if start is None or self._windows is None else self._windows.end_of(start) + self._grace

    def placed(self, columns: Columns) -> Placed:
        """A batch's rows in their windows."""
        outcomes: list[object] = [KEPT] * len(columns.keys)
        for row, failure in columns.failures.items():
            outcomes[row] = failure
        if not outcomes:
            return Placed(columns, outcomes, ())
        if self._windows is None:
            return Placed(columns, outcomes, [Place(None, END_OF_TIME, self._grouped(columns, b"]"))])
        if (start := self._common(columns)) is not None:
            groups = self._grouped(columns, self._behind % start)
            return Placed(columns, outcomes, [Place(start, self.closes(start), groups)])
        return Placed(columns, outcomes, self._one_by_one(self._windows, columns, outcomes))

    def _common(self, columns: Columns) -> int | None:
        """The window that all rows are in, and early enough; None if there is no such window."""
        if self._windows is None or self._windows.overlap or columns.failures:
            return None
        try:
            (start,) = self._windows.starts_of(min(columns.times))
        except RecordError:
            return None
        end = self._windows.end_of(start)
        return start if max(columns.times) < end and columns.watermarks[-1] < end + self._grace else None

    @staticmethod
    def _grouped(columns: Columns, behind: bytes) -> dict[bytes, list[int]]:
        groups: dict[bytes, list[int]] = {}
        failures = columns.failures
        for row, key in enumerate(columns.keys):
            if failures and row in failures:
                continue
            if (field := key + behind) in groups:
                groups[field].append(row)
            else:
                groups[field] = [row]
        return groups

    def _one_by_one(self, windows: TimeWindows, columns: Columns, outcomes: list[object]) -> list[Place]:
        places: dict[int, Place] = {}
        starts: Sequence[int] = ()
        first, end = 0, 0
        for row, (key, time, watermark) in enumerate(
            zip(columns.keys, columns.times, columns.watermarks, strict=True)
        ):  # fmt: skip
            if row in columns.failures:
                continue
            if not first <= time < end:
                try:
                    starts = windows.starts_of(time)
                except RecordError as exc:
                    outcomes[row] = exc
                    continue
                if not windows.overlap:
                    first, end = starts[0], windows.end_of(starts[0])
            late = True
            for start in starts:
                if (place := places.get(start)) is None:
                    place = places[start] = Place(start, self.closes(start), {})
                if place.closes > watermark:
                    late = False
                    place.groups.setdefault(key + self._behind % start, []).append(row)
            if late:
                outcomes[row] = late_for(starts[-1], windows.end_of(starts[-1]), watermark)
        return list(places.values())


def late_for(start: int, end: int, watermark: int) -> Late:
    """A record whose window had closed."""
    seen = iso_time(watermark) if watermark < END_OF_TIME else "at the end of the input"
    return Late(f"late: its window from {iso_time(start)} to {iso_time(end)} had closed, the watermark was {seen}")


def closing_time(newest: int, watermark: int) -> int:
    """The time of what the end of the input closes: that of its newest record, or a later one that was promised."""
    return newest if watermark >= END_OF_TIME else max(newest, watermark)
