"""A batch in columns: the key of each row in bytes, what each function is given, and event times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from papyra_flow.errors import RecordError
from papyra_flow.expressions.compiled import Compiled, compile_expression, explain
from papyra_flow.records.entries import Record
from papyra_flow.state.aggregates.base import Aggregate
from papyra_flow.state.aggregates.calls import AggregateCall
from papyra_flow.state.fields import canonical, canonical_all
from papyra_flow.steps.keyed import KeyedRows

Failures = dict[int, object]
"""What rows met, by their places: they are not aggregated."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A batch as functions want it; at the place of a row that failed there may be anything."""

    keys: Sequence[bytes]
    """The first part of each row's field of state: an array of the key's parts, without its end."""
    values: Sequence[Sequence[Any] | None]
    """For each function what it is given, in the form that it accepts; None for `count()`."""
    times: Sequence[int]
    watermarks: Sequence[int]
    failures: Failures


@dataclass(frozen=True, slots=True)
class _Expression:
    """An expression over many records, one by one where one of them fails."""

    compiled: Compiled
    explain: Callable[[Exception], Exception]

    def over(self, records: Sequence[Record], failures: Failures) -> Sequence[Any]:
        try:
            return self.compiled.over(records)
        except Exception:  # noqa: BLE001 - which record it was is found below
            return _each(self._one, records, failures)

    def _one(self, record: Record) -> Any:
        try:
            return self.compiled.one(record)
        except Exception as exc:
            raise self.explain(exc) from exc


class ColumnMaker:
    """From a batch's records to its columns."""

    def __init__(self, by: Sequence[str], calls: Sequence[AggregateCall]) -> None:
        self._by = [_compiled(text) for text in by]
        self._arguments = [
            (call.function, _Expression(call.argument, explain(call.text)) if call.argument else None) for call in calls
        ]

    def columns(self, rows: KeyedRows) -> Columns:
        """The columns of a batch."""
        failures: Failures = {}
        records = rows.records
        keys = self._keys(records, failures)
        values: list[Sequence[Any] | None] = []
        for function, argument in self._arguments:
            if argument is None:
                values.append(None)
                continue
            given = argument.over(records, failures)
            values.append(_accepted(function, given, failures))
        return Columns(keys, values, rows.times, rows.watermarks, failures)

    def _keys(self, records: Sequence[Record], failures: Failures) -> Sequence[bytes]:
        parts = [self._texts(expression.over(records, failures), failures) for expression in self._by]
        if len(parts) == 1:
            return [b"[" + text for text in parts[0]]
        return [b"[" + b",".join(texts) for texts in zip(*parts, strict=True)] if parts else [b"["] * len(records)

    @staticmethod
    def _texts(values: Sequence[Any], failures: Failures) -> Sequence[bytes]:
        try:
            return canonical_all(values)
        except RecordError:
            return [text or b"" for text in _each(canonical, values, failures)]


def _compiled(text: str) -> _Expression:
    return _Expression(compile_expression(text), explain(text))


def _accepted(function: Aggregate, given: Sequence[Any], failures: Failures) -> Sequence[Any]:
    try:
        return function.accept_all(given)
    except RecordError:
        return _each(lambda value: None if value is None else function.accept(value), given, failures)


def _each(function: Callable[[Any], Any], values: Sequence[Any], failures: Failures) -> list[Any]:
    """What a function makes of each value; None where it fails, which the row met unless it met something before."""
    found: list[Any] = []
    for place, value in enumerate(values):
        try:
            found.append(function(value))
        except Exception as exc:  # noqa: BLE001 - the row's own failure
            failures.setdefault(place, exc)
            found.append(None)
    return found
