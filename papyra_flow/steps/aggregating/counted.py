"""Groups in windows of a count: one is full when it has so many records, and the next one begins.

A key's open window is one field of the stage's state. What is not full when all of the input has come leaves then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.state.event_time import END_OF_TIME
from papyra_flow.state.store import Store, Timer
from papyra_flow.steps.aggregating.columns import ColumnMaker
from papyra_flow.steps.aggregating.groups import Groups, State
from papyra_flow.steps.aggregating.placing import closing_time
from papyra_flow.steps.aggregating.sessions import Keyed, keyed
from papyra_flow.steps.keyed import KeyedRows, TimedRecord

COUNT, NEWEST = -2, -1
"""What is behind the functions' states: the count of records, and the newest of their times."""


class CountedStep:
    """The step `aggregate` with windows of a count."""

    def __init__(self, columns: ColumnMaker, groups: Groups, size: int) -> None:
        self._columns = columns
        self._groups = groups
        self._size = size

    def prepare(self, rows: KeyedRows) -> Keyed:
        """The rows in columns, by their keys."""
        return keyed(self._columns.columns(rows))

    def fields(self, prepared: Keyed) -> Iterable[bytes]:
        """One for each key."""
        return prepared.groups

    def apply(self, prepared: Keyed, store: Store) -> Sequence[object]:
        """Add the rows to their windows; the row that fills one has its record as an outcome."""
        for field, rows in prepared.groups.items():
            state: State | None = store.own(field, self._groups.copy)
            opened = state is None
            for row in rows:
                state = state if state is not None else [*self._groups.new(), 0, None]
                try:
                    self._groups.refuse(state, prepared.columns, [row])
                except RecordError as exc:
                    prepared.outcomes[row] = exc
                    continue
                self._groups.add(state, prepared.columns, [row])
                time = prepared.columns.times[row]
                state[COUNT] += 1
                state[NEWEST] = time if state[NEWEST] is None else max(state[NEWEST], time)
                if state[COUNT] == self._size:
                    prepared.outcomes[row] = self._record(field, state)
                    state = None
            store.put(field, state)
            if state is None and not opened:
                store.delete_timer(field)
            elif state is not None and opened:
                store.set_timer(END_OF_TIME, field)
        return prepared.outcomes

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        """The keys that they are about."""
        return [timer.member for timer in timers]

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """Give what is not full."""
        return [self._fired(timer.member, watermark, store) for timer in timers]

    def _fired(self, field: bytes, watermark: int, store: Store) -> object:
        state = store.get(field)
        if state is None:
            return None
        store.delete(field)
        return TimedRecord(self._record(field, state), closing_time(state[NEWEST], watermark))

    def _record(self, field: bytes, state: State) -> Record:
        return self._groups.key_of(field) | self._groups.results(state)
