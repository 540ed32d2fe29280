"""Groups in windows of a time, tumbling or hopping, and groups without a window, which are in one window for ever.

A group's state in a window is one field of the stage's: its key and the window's start. A timer closes it when the
watermark has passed its end by `grace`; the window for ever closes when time ends, which a run over all of its input
comes to. A second timer, where changes are given every so often, is called as the first one is, with `emit` behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal, TypeAlias

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.state.fields import parts_of, with_part
from papyra_flow.state.store import Store, Timer
from papyra_flow.state.windows import TimeWindows
from papyra_flow.steps.aggregating.columns import ColumnMaker
from papyra_flow.steps.aggregating.groups import Groups, State
from papyra_flow.steps.aggregating.placing import Place, Placed, Placing, closing_time
from papyra_flow.steps.keyed import KEPT, KeyedRows, TimedRecord

Emission: TypeAlias = Literal["final", "each"] | int
"""When a group's results leave: when its window closes, behind each record, or every so many milliseconds."""
_EMIT = b'"emit"]'


class TimedStep:
    """The step `aggregate` with windows of a time, or with none."""

    def __init__(
        self, columns: ColumnMaker, groups: Groups, windows: TimeWindows | None, grace: int, emission: Emission,
        *, keyed: bool,
    ) -> None:  # fmt: skip
        self._columns = columns
        self._groups = groups
        self._windows = windows
        self._emission = emission
        self._placing = Placing(windows, grace, keyed=keyed)
        overlap = windows is not None and windows.overlap
        self._one_by_one = overlap and (groups.strict or emission == "each")
        self._marked = emission != "each" and (windows is None or emission != "final")
        """Whether there is something behind the functions' states: for `final` the newest time, else when the group
        is given next, null if it has not changed since."""
        self._plain = not (groups.strict or self._marked)

    # -- a batch ----------------------------------------------------------------------------------------------

    def prepare(self, rows: KeyedRows) -> Placed:
        """The rows in columns, and in their windows."""
        return self._placing.placed(self._columns.columns(rows))

    def fields(self, prepared: Placed) -> Iterable[bytes]:
        """One for each group in each window."""
        return chain.from_iterable(place.groups for place in prepared.places)

    def apply(self, prepared: Placed, store: Store) -> Sequence[object]:
        """Add the rows to their groups."""
        if self._one_by_one:
            self._add_one_by_one(prepared, store)
        else:
            add = self._add_each if self._emission == "each" else self._add_plainly if self._plain else self._add
            for place in prepared.places:
                add(prepared, store, place)
        return prepared.outcomes

    def _add_plainly(self, prepared: Placed, store: Store, place: Place) -> None:
        """Where no row is refused and nothing is marked, which is most of the time."""
        own, copy, add, columns = store.own, self._groups.copy, self._groups.add, prepared.columns
        for field, rows in place.groups.items():
            state = own(field, copy)
            if state is None:
                state = self._opened(store, place, field)
            add(state, columns, rows)

    def _add(self, prepared: Placed, store: Store, place: Place) -> None:
        for field, rows in place.groups.items():
            state = store.own(field, self._groups.copy)
            if state is None:
                state = self._opened(store, place, field)
            self._groups.add_fitting(state, prepared.columns, rows, prepared.outcomes)
            if self._marked:
                self._mark(prepared, store, place, field, state, rows)

    def _add_each(self, prepared: Placed, store: Store, place: Place) -> None:
        """Where each row gives what there is so far."""
        outcomes, add, results = prepared.outcomes, self._groups.add_fitting, self._groups.results
        for field, rows in place.groups.items():
            state = store.own(field, self._groups.copy)
            if state is None:
                state = self._opened(store, place, field)
            head = self._head(field)
            for row in rows:
                add(state, prepared.columns, (row,), outcomes)
                if outcomes[row] is KEPT:
                    outcomes[row] = head | results(state)

    def _add_one_by_one(self, prepared: Placed, store: Store) -> None:
        """Where a row is added to all of its windows or to none, or gives what became of it."""
        found: list[list[tuple[Place, bytes]]] = [[] for _ in prepared.outcomes]
        for place in prepared.places:
            for field, rows in place.groups.items():
                for row in rows:
                    found[row].append((place, field))
        for row, places in enumerate(found):
            try:
                prepared.outcomes[row] = self._added(prepared, store, places, row) or prepared.outcomes[row]
            except RecordError as exc:
                prepared.outcomes[row] = exc

    def _added(self, prepared: Placed, store: Store, places: list[tuple[Place, bytes]], row: int) -> object:
        states: list[State | None] = [store.own(field, self._groups.copy) for _, field in places]
        for state in states:
            if state is not None and self._groups.strict:
                self._groups.refuse(state, prepared.columns, [row])
        given: list[Record] = []
        for (place, field), state in zip(places, states, strict=True):
            there = state if state is not None else self._opened(store, place, field)
            self._groups.add(there, prepared.columns, [row])
            if self._marked:
                self._mark(prepared, store, place, field, there, [row])
            if self._emission == "each":
                given.append(self._record(field, there))
        return given[0] if len(given) == 1 else given

    def _opened(self, store: Store, place: Place, field: bytes) -> State:
        state = self._groups.new()
        if self._marked:
            state.append(None)
        store.put(field, state)
        if place.start is not None or self._emission == "final":
            store.set_timer(place.closes, field)
        return state

    def _mark(
        self, prepared: Placed, store: Store, place: Place, field: bytes, state: State, rows: Sequence[int]
    ) -> None:
        if self._emission == "final":
            newest = max(prepared.columns.times[row] for row in rows)
            state[-1] = newest if state[-1] is None else max(state[-1], newest)
        elif isinstance(self._emission, int) and state[-1] is None:
            due = (prepared.columns.watermarks[rows[0]] // self._emission + 1) * self._emission
            state[-1] = at = min(due, place.closes)
            if due < place.closes or place.start is None:  # nothing but this gives what is in the window for ever
                store.set_timer(at, with_part(field, "emit"))

    # -- timers -----------------------------------------------------------------------------------------------

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        """The groups that they are about."""
        return [self._field_of(timer.member) for timer in timers]

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """Close windows, and give what has changed."""
        return [self._fired(timer, watermark, store) for timer in timers]

    def _fired(self, timer: Timer, watermark: int, store: Store) -> object:
        field = self._field_of(timer.member)
        state = store.get(field)
        if state is None:
            return None
        if field is timer.member:
            store.delete(field)
            if self._emission == "each" or (self._marked and state[-1] is None):
                return None
            return self._given(field, state, timer.at, watermark)
        if state[-1] != timer.at:
            return None
        store.own(field, self._groups.copy)[-1] = None  # type: ignore[index]
        return self._given(field, state, timer.at, watermark)

    def _given(self, field: bytes, state: State, at: int, watermark: int) -> TimedRecord:
        """A group's results, as of the last moment of its window, or of the input where it has no window."""
        if self._windows is not None:
            end = self._windows.end_of(parts_of(field)[-1])
            at = min(at, end - 1)
        elif self._emission == "final":
            at = closing_time(state[-1], watermark)
        return TimedRecord(self._record(field, state), at)

    def _field_of(self, member: bytes) -> bytes:
        if not isinstance(self._emission, int) or not member.endswith(_EMIT):
            return member
        if len(parts_of(member)) == self._groups.width + (self._windows is not None):
            return member  # a key of that text
        return member.removesuffix(_EMIT).removesuffix(b",") + b"]"

    def _record(self, field: bytes, state: State) -> Record:
        return self._head(field) | self._groups.results(state)

    def _head(self, field: bytes) -> Record:
        """The fields of the group, and of its window."""
        if self._windows is None:
            return self._groups.key_of(field)
        start = parts_of(field)[-1]
        return self._groups.key_of(field) | self._groups.bounds(start, self._windows.end_of(start))
