"""The event times of a batch: what its stream's entries bring, or say by an expression, or what a step says itself.

Where a stage behind goes by event time, the time travels as a header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from papyra_flow.errors import RecordError
from papyra_flow.expressions.compiled import Compiled, compile_expression, explain
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Record
from papyra_flow.records.rows import Failures, Note, Rows
from papyra_flow.state.event_time import event_time, event_times
from papyra_flow.steps.context import TIME

_TIME = TIME.encode()

MOST_DIGITS = 18
"""Digits of a time in milliseconds, so that it has 64 bits."""


class TimeExpression:
    """An expression for event times; raises ValueError for one that is wrong."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._compiled: Compiled = compile_expression(text)

    def of(self, rows: Rows, failures: Failures) -> list[int]:
        """The event time of each row; `failures` gets the entries of those that have none."""
        values: list[object]
        try:
            values = self._compiled.over(rows.records)
        except Exception:  # noqa: BLE001 - find out whose fault it is
            values = [self._one(record) for record in rows.records]
        times = event_times(values)
        if set(map(type, times)) <= {int}:
            return times  # type: ignore[return-value]
        found = []
        for origin, value, time in zip(rows.origins, values, times, strict=True):
            if not isinstance(time, int):
                failures[origin] = value if isinstance(value, Exception) else time
            found.append(time if isinstance(time, int) else 0)
        return found

    def _one(self, record: Record) -> object:
        try:
            return self._compiled.one(record)
        except Exception as exc:  # noqa: BLE001 - the record's own failure
            return explain(self._text)(exc)


class EntryTimes:
    """The event times of entries, by the stream that they came in first: an expression, or what they bring."""

    def __init__(self, by_stream: Mapping[str, str | None], names: Mapping[str, str]) -> None:
        """`names` are those of streams by their keys; raises ValueError for an expression that is wrong."""
        self._expressions = {name: TimeExpression(text) for name, text in by_stream.items() if text is not None}
        self._names = names

    def of(self, batch: Batch, rows: Rows, failures: Failures) -> dict[int, int]:
        """The event time of each entry that was decoded to a row, by its place; `failures` gets those without."""
        if batch.key in self._names:
            return self._of_stream(self._names[batch.key], batch, rows, failures)
        found: dict[int, int] = {}
        streams = [self._names.get(batch.entry(origin).origin.key, "") for origin in rows.origins]
        for stream in dict.fromkeys(streams):  # replayed ones, from one of several streams each
            part = rows.only([name == stream for name in streams])
            found |= self._of_stream(stream, batch, part, failures)
        return found

    def _of_stream(self, stream: str, batch: Batch, rows: Rows, failures: Failures) -> dict[int, int]:
        if (expression := self._expressions.get(stream)) is not None:
            times: Sequence[int] = expression.of(rows, failures)
        else:
            times = [entry_time(batch, origin) for origin in rows.origins]
        return dict(zip(rows.origins, times, strict=True))


def stamped(rows: Rows, times: Mapping[int, int]) -> Rows:
    """Rows that carry their entries' event times, where they have none of their own."""
    notes = rows.notes or [None] * len(rows)
    found = [_with_time(note, times[origin]) for note, origin in zip(notes, rows.origins, strict=True)]
    return Rows(rows.records, rows.origins, found)


def _with_time(note: Note | None, time: int) -> Note:
    to, headers = note or (None, None)
    return Note(to, {_TIME: b"%d" % time, **(headers or {})})


def entry_time(batch: Batch, place: int) -> int:
    """The event time that an entry brings: its header `ts`, else when it was first added to a stream."""
    fields = batch.fields[place]
    for number in range(2, len(fields), 2):
        if fields[number] == _TIME and (time := _said(fields[number + 1])) is not None:
            return time
    return int(batch.entry(place).origin.id.partition(b"-")[0])


def _said(header: bytes) -> int | None:
    """The time that a header says, in milliseconds or as ISO 8601; None for what is neither."""
    if header.lstrip(b"-").isdigit() and len(header) < MOST_DIGITS:
        return int(header)
    try:
        return event_time(header.decode())
    except (RecordError, UnicodeDecodeError):
        return None
