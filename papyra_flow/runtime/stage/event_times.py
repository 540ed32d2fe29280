"""The event times of a batch's rows: what the step says they are, else what their entries bring."""

from __future__ import annotations

from dataclasses import dataclass

from papyra_flow.expressions.compiled import Compiled, compile_expression, explain
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Record
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.state.event_time import event_times

TIME = b"ts"
"""The header that holds a record's event time, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class EventTimes:
    """An expression over the records that come to the step; without one, what their entries bring."""

    own: Compiled | None
    text: str = ""

    @classmethod
    def by(cls, expression: str | None) -> EventTimes:
        """Event times by an expression, or by the entries; raises ValueError for one that is wrong."""
        return cls(compile_expression(expression), expression) if expression is not None else cls(None)

    def of(self, batch: Batch, rows: Rows, failures: Failures) -> list[int]:
        """The event time of each row; `failures` gets the entries of those that say none."""
        if self.own is None:
            return [entry_time(batch, origin) for origin in rows.origins]
        values: list[object]
        try:
            values = self.own.over(rows.records)
        except Exception:  # noqa: BLE001 - find out whose fault it is
            values = [self._one(record) for record in rows.records]
        found = []
        for origin, value, time in zip(rows.origins, values, event_times(values), strict=True):
            if not isinstance(time, int):
                failures[origin] = value if isinstance(value, Exception) else time
            found.append(time if isinstance(time, int) else 0)
        return found

    def _one(self, record: Record) -> object:
        try:
            return self.own.one(record) if self.own is not None else None
        except Exception as exc:  # noqa: BLE001 - the record's own failure
            return explain(self.text)(exc)


def entry_time(batch: Batch, place: int) -> int:
    """The event time that an entry brings: its header `ts`, else when it was first added to a stream."""
    fields = batch.fields[place]
    for number in range(2, len(fields), 2):
        if fields[number] == TIME:
            try:
                return int(fields[number + 1])
            except ValueError:
                break
    return int(batch.entry(place).origin.id.partition(b"-")[0])
