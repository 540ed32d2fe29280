"""Groups in sessions: records that follow one another within a gap.

A key's sessions are one field of the stage's state: of each its first time, its last, and what functions have. A
session is `[first, last + gap)`; each has a timer, its key and first time. One whose end the watermark has passed by
`grace` takes no more records, whether its timer has gone off or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from papyra_flow.errors import RecordError
from papyra_flow.state.fields import field_of, parts_of, with_part
from papyra_flow.state.store import Store, Timer
from papyra_flow.state.windows import check_bounds
from papyra_flow.steps.aggregating.columns import ColumnMaker, Columns
from papyra_flow.steps.aggregating.groups import Groups
from papyra_flow.steps.aggregating.placing import late_for
from papyra_flow.steps.keyed import KEPT, KeyedRows, TimedRecord

Session = list[Any]
FIRST, LAST, STATE = range(3)


class Keyed(NamedTuple):
    """A batch, with its rows by their keys' fields of state."""

    columns: Columns
    outcomes: list[object]
    groups: dict[bytes, list[int]]


def keyed(columns: Columns) -> Keyed:
    """A batch's rows by their keys; those that failed have an outcome already."""
    outcomes: list[object] = [columns.failures.get(row, KEPT) for row in range(len(columns.keys))]
    groups: dict[bytes, list[int]] = {}
    for row, key in enumerate(columns.keys):
        if row not in columns.failures:
            groups.setdefault(key + b"]", []).append(row)
    return Keyed(columns, outcomes, groups)


class SessionStep:
    """The step `aggregate` with sessions."""

    def __init__(self, columns: ColumnMaker, groups: Groups, gap: int, grace: int) -> None:
        self._columns = columns
        self._groups = groups
        self._gap = gap
        self._grace = grace

    def prepare(self, rows: KeyedRows) -> Keyed:
        """The rows in columns, by their keys."""
        return keyed(self._columns.columns(rows))

    def fields(self, prepared: Keyed) -> Iterable[bytes]:
        """One for each key."""
        return prepared.groups

    def apply(self, prepared: Keyed, store: Store) -> Sequence[object]:
        """Add the rows to their sessions, key by key."""
        for field, rows in prepared.groups.items():
            self._add(prepared, store, field, rows)
        return prepared.outcomes

    def _add(self, prepared: Keyed, store: Store, field: bytes, rows: list[int]) -> None:
        sessions = store.own(field, self._copy) or []
        before = {session[FIRST]: session[LAST] for session in sessions}
        for row in rows:
            try:
                self._add_row(prepared, sessions, row)
            except RecordError as exc:
                prepared.outcomes[row] = exc
        after = {session[FIRST]: session[LAST] for session in sessions}
        for first in before.keys() - after.keys():
            store.delete_timer(with_part(field, first))
        for first, last in after.items():
            if before.get(first) != last:
                store.set_timer(last + self._gap + self._grace, with_part(field, first))
        store.put(field, sessions or None)

    def _add_row(self, prepared: Keyed, sessions: list[Session], row: int) -> None:
        time, watermark = prepared.columns.times[row], prepared.columns.watermarks[row]
        check_bounds(time, time + self._gap)
        near = [
            place for place, (first, last, _) in enumerate(sessions)
            if first - self._gap < time < last + self._gap and last + self._gap + self._grace > watermark
        ]  # fmt: skip
        last = max([time, *(sessions[place][LAST] for place in near)])
        if last + self._gap + self._grace <= watermark:
            prepared.outcomes[row] = late_for(time, last + self._gap, watermark)
            return
        session = self._joined([sessions[place] for place in near])
        self._groups.refuse(session[STATE], prepared.columns, [row])
        self._groups.add(session[STATE], prepared.columns, [row])
        session[FIRST], session[LAST] = min(session[FIRST] if near else time, time), last
        if len(near) == 1:
            sessions[near[0]] = session
            return
        for place in reversed(near):
            del sessions[place]
        sessions.append(session)
        sessions.sort(key=lambda one: one[FIRST])

    def _joined(self, sessions: list[Session]) -> Session:
        """One session of those that a record falls between; one that there is, as it is."""
        if not sessions:
            return [0, 0, self._groups.new()]
        joined = sessions[0]
        for session in sessions[1:]:
            joined = [joined[FIRST], session[LAST], self._groups.merged(joined[STATE], session[STATE])]
        return joined

    def _copy(self, sessions: list[Session]) -> list[Session]:
        return [[first, last, self._groups.copy(state)] for first, last, state in sessions]

    # -- timers -----------------------------------------------------------------------------------------------

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        """Those of the keys whose sessions they close."""
        return [field_of(parts_of(timer.member)[:-1]) for timer in timers]

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """Close sessions."""
        return [self._fired(timer, store) for timer in timers]

    def _fired(self, timer: Timer, store: Store) -> object:
        *key, first = parts_of(timer.member)
        field = field_of(key)
        sessions = store.get(field) or []
        closed = next((one for one in sessions if one[FIRST] == first), None)
        if closed is None:
            return None
        store.put(field, [one for one in sessions if one is not closed] or None)
        end = closed[LAST] + self._gap
        bounds = self._groups.bounds(first, end)
        record = self._groups.key_of(field) | bounds | self._groups.results(closed[STATE])
        return TimedRecord(record, end - 1)
