"""`first`, `last` and `list`: values by their event time; of equal times, as they came."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from papyra_flow.errors import RecordError
from papyra_flow.records.values import Value
from papyra_flow.state.aggregates.base import Aggregate, apart

MOST_LISTED = 10_000
"""Values in a list: it is one value of the state, written whole whenever it changes."""
_SCALARS = frozenset({int, str, bool})


class First(Aggregate):
    """The value with the earliest time; its state is that time and the value."""

    plain = _SCALARS
    timed = True

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The first of all."""
        time = min(times)
        return [time, values[times.index(time)]] if state is None or time < state[0] else state

    def merge(self, state: Any, other: Any) -> Any:
        """The earlier one."""
        if state is None or other is None:
            return state or other
        return other if other[0] < state[0] else state

    def result(self, state: Any) -> Value:
        """Null of no values."""
        return None if state is None else apart(state[1])


class Last(First):
    """The value with the latest time."""

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The last of all."""
        time = max(times)
        if state is not None and time < state[0]:
            return state
        return [time, values[len(times) - 1 - times[::-1].index(time)]]

    def merge(self, state: Any, other: Any) -> Any:
        """The later one."""
        if state is None or other is None:
            return state or other
        return state if other[0] < state[0] else other


class Listed(Aggregate):
    """All values in order; its state is their times, and the values."""

    plain = _SCALARS
    timed = True
    strict = True
    mutable = True

    def new(self) -> Any:
        """None so far."""
        return [[], []]

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """With these at the end."""
        state[0] += times
        state[1] += values
        return state

    def merge(self, state: Any, other: Any) -> Any:
        """Those of both."""
        self.refuse(state, other[1])
        return [[*state[0], *other[0]], [*state[1], *other[1]]]

    def result(self, state: Any) -> Value:
        """The values by their times."""
        times, values = state
        if any(later < time for time, later in pairwise(times)):
            values = [values[place] for place in sorted(range(len(times)), key=times.__getitem__)]
        return [apart(value) for value in values]

    def refuse(self, state: Any, values: Sequence[Any]) -> None:
        """Raise RecordError for more values than a list may have."""
        if len(state[1]) + len(values) > MOST_LISTED:
            raise RecordError(f"`{self.name}` would hold more than {MOST_LISTED:,} values: make the window smaller")

    def copy(self, state: Any) -> Any:
        """Lists of its own; what is in them is not changed."""
        return [list(part) for part in state]
