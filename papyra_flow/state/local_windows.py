"""Windows by the clocks of a time zone: `1d` is from midnight to midnight, be that 23, 24 or 25 hours.

A window's bounds are the instants when the zone's clocks show a multiple of its size. Hours that are shown twice when
clocks go back are two windows of an hour; a window of six hours is seven hours long then. Of a day's beginning there is
one: the first instant that is shown as midnight, or the first one behind it where clocks skip it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from papyra_flow.errors import RecordError
from papyra_flow.state.event_time import EPOCH, MILLISECOND
from papyra_flow.state.windows import check_bounds

DAY = 86_400_000
_KEPT = 256
"""Windows that are remembered: looking into a time zone costs 10 us."""
_START = EPOCH.replace(tzinfo=None)


class LocalWindows:
    """Windows of a size, by a zone's clocks; those that overlap are of whole days."""

    def __init__(self, zone: ZoneInfo, size: int, every: int | None = None, offset: int = 0) -> None:
        """Raises ValueError for windows that overlap and are not of whole days."""
        self._zone = zone
        self._size = size
        self._every = every or size
        self._offset = offset
        self._days = size % DAY == 0 and self._every % DAY == 0
        if self.overlap and not self._days:
            raise ValueError("with `tz`, `size` and `every` of windows that overlap are whole days")
        self._known: list[tuple[int, int]] = []
        """Windows from `every` to `every`, in order: those that begin there may be longer."""

    @property
    def overlap(self) -> bool:
        """Whether a time is in more than one of them."""
        return self._every < self._size

    def starts_of(self, time: int) -> Sequence[int]:
        """The starts of the windows that a time is in, in order."""
        try:
            start, end = self._around(time)
            if not self.overlap:
                check_bounds(start, end)
                return (start,)
            return self._overlapping(time, start)
        except OverflowError:
            raise RecordError("the record's window is not within the years 1 to 9999") from None

    def end_of(self, start: int) -> int:
        """Where the window that begins there ends."""
        if not self.overlap:
            return self._around(start)[1]
        return self._first(self._number(start) * self._every + self._offset + self._size)

    def _overlapping(self, time: int, last: int) -> Sequence[int]:
        starts: list[int] = []
        number = self._number(last)
        while time < (end := self._first(number * self._every + self._offset + self._size)):
            start = self._first(number * self._every + self._offset)
            check_bounds(start, end)
            if start not in starts:  # of a day that a zone skips
                starts.append(start)
            number -= 1
        return starts[::-1]

    def _around(self, time: int) -> tuple[int, int]:
        """The bounds nearest to a time, on both sides of it."""
        place = bisect_right(self._known, (time, time)) - 1
        for known in self._known[max(place, 0) : place + 2]:
            if known[0] <= time < known[1]:
                return known
        found = self._days_around(time) if self._days else self._clock_around(time)
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known.append(found)
        self._known.sort()
        return found

    def _days_around(self, time: int) -> tuple[int, int]:
        number = self._number(time)
        return self._first(number * self._every + self._offset), self._first((number + 1) * self._every + self._offset)

    def _number(self, time: int) -> int:
        """The number of the last period of days that has begun by then."""
        number = (self._shown(time) - self._offset) // self._every
        while self._first(number * self._every + self._offset) > time:
            number -= 1
        while self._first((number + 1) * self._every + self._offset) <= time:
            number += 1
        return number

    def _clock_around(self, time: int) -> tuple[int, int]:
        shown = self._shown(time)
        bound = shown - (shown - self._offset) % self._every
        after = [start for start in (*self._when(bound), *self._when(bound + self._every)) if start > time]
        before: list[int] = []
        while not before:
            before = [start for start in self._when(bound) if start <= time]
            bound -= self._every
        return max(before), min(after)

    def _shown(self, time: int) -> int:
        """What the clocks show at a time, as if they were UTC's."""
        local = (EPOCH + timedelta(milliseconds=time)).astimezone(self._zone)
        return (local.replace(tzinfo=None) - _START) // MILLISECOND

    def _first(self, shown: int) -> int:
        """The first time that clocks show this, or skip it."""
        return self._time(_START + timedelta(milliseconds=shown), 0)

    def _when(self, shown: int) -> list[int]:
        """All times that clocks show this, or when they skip it."""
        moment = _START + timedelta(milliseconds=shown)
        first, second = self._time(moment, 0), self._time(moment, 1)
        return [first, second] if self._shown(second) == shown and second != first else [first]

    def _time(self, moment: datetime, fold: int) -> int:
        return (moment.replace(tzinfo=self._zone, fold=fold) - EPOCH) // MILLISECOND
