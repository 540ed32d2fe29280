"""Groups: the state of one is that of its functions, in their order; and what becomes of it as a record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.state.aggregates.calls import AggregateCall
from papyra_flow.state.event_time import iso_time
from papyra_flow.state.fields import parts_of
from papyra_flow.steps.aggregating.columns import Columns

State = list[Any]
"""What each function has; behind that, what a kind of window keeps."""

WINDOW_START, WINDOW_END = "window_start", "window_end"


class Groups:
    """What all groups of a step have in common."""

    def __init__(self, by: Sequence[str], calls: Sequence[AggregateCall], names: Sequence[str], zone: tzinfo) -> None:
        self._by = by
        self._results = [
            (name, place, call.function.result) for place, (name, call) in enumerate(zip(names, calls, strict=True))
        ]
        self._bounds: tuple[int, int, Record] = (0, 0, {})
        self._zone = zone
        self.functions = [call.function for call in calls]
        mutable = [(place, function) for place, function in enumerate(self.functions) if function.mutable]
        self._mutable = mutable
        self._numbered = list(enumerate(self.functions))
        self._counting = [place for place, call in enumerate(calls) if call.argument is None]
        """Those of `count()`."""
        self._fed = [(place, call.function) for place, call in enumerate(calls) if call.argument is not None]
        self._strict = [(place, function) for place, function in self._numbered if function.strict]
        self.strict = bool(self._strict)
        """Whether a row may be refused because of those before it."""
        self.width = len(by)
        """Parts of a key."""
        self.timed = any(function.timed for function in self.functions)
        """Whether a function asks for event times."""

    def new(self) -> State:
        """The state of a group without rows."""
        return [function.new() for function in self.functions]

    def copy(self, state: State) -> State:
        """A state that may be changed in place."""
        copied = state.copy()
        for place, function in self._mutable:
            copied[place] = function.copy(state[place])
        return copied

    def add(self, state: State, columns: Columns, rows: Sequence[int]) -> None:
        """Add rows, in their order."""
        for place in self._counting:
            state[place] += len(rows)
        for place, function in self._fed:
            column = columns.values[place] or ()
            values = [value for row in rows if (value := column[row]) is not None]
            if not values:
                continue
            times: Sequence[int] = rows
            if function.timed:
                times = [columns.times[row] for row in rows if column[row] is not None]
            state[place] = function.add(state[place], values, times)

    def refuse(self, state: State, columns: Columns, rows: Sequence[int]) -> None:
        """Raise RecordError if one of these rows does not fit what is there."""
        for place, function in self._strict:
            column = columns.values[place] or ()
            values = [value for row in rows if (value := column[row]) is not None]
            if values:
                function.refuse(state[place], values)

    def add_fitting(self, state: State, columns: Columns, rows: Sequence[int], outcomes: list[object]) -> None:
        """Add rows in their order; those that do not fit what is there get their failure as an outcome."""
        if self._strict:
            try:
                self.refuse(state, columns, rows)
            except RecordError:
                self._add_singly(state, columns, rows, outcomes)
                return
        self.add(state, columns, rows)

    def _add_singly(self, state: State, columns: Columns, rows: Sequence[int], outcomes: list[object]) -> None:
        for row in rows:
            try:
                self.refuse(state, columns, [row])
            except RecordError as exc:
                outcomes[row] = exc
            else:
                self.add(state, columns, [row])

    def merged(self, state: State, other: State) -> State:
        """A new state of all rows of two; those of `other` came later. Raises RecordError."""
        return [function.merge(state[place], other[place]) for place, function in self._numbered]

    def key_of(self, field: bytes) -> Record:
        """The group's fields, by its field of state or a timer's member."""
        return dict(zip(self._by, parts_of(field), strict=False))

    def bounds(self, start: int, end: int) -> Record:
        """A window's fields."""
        if self._bounds[0] != start or self._bounds[1] != end:  # many groups close with the same window
            fields: Record = {WINDOW_START: iso_time(start, self._zone), WINDOW_END: iso_time(end, self._zone)}
            self._bounds = (start, end, fields)
        return self._bounds[2]

    def results(self, state: State) -> Record:
        """What the functions say."""
        return {name: result(state[place]) for name, place, result in self._results}
