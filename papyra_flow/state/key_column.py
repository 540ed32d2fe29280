"""The keys of a batch, as the fields of state that they stand for: evaluated for all rows at once where that goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from papyra_flow.errors import RecordError
from papyra_flow.expressions.compiled import compile_expression, explain
from papyra_flow.records.entries import Record
from papyra_flow.state.fields import canonical, field_of

Keys: TypeAlias = Sequence[bytes | RecordError | None]
"""For each row the field of its key, None where a part of the key is null, or what the row met."""

_QUICK = frozenset({int, str})


class ValueColumn:
    """An expression, for the records of a batch."""

    def __init__(self, word: str, text: str) -> None:
        """`word` is what the file calls it, for messages; raises ValueError for one that reads headers."""
        self._compiled = compile_expression(text)
        self._told = explain(text)
        if self._compiled.needs_headers:
            raise ValueError(f"`{word}` cannot read headers: `set` a field to the header first")

    def over(self, records: Sequence[Record]) -> Sequence[Any]:
        """Its value for each record, or the ExpressionError that it met."""
        try:
            return self._compiled.over(records)
        except Exception:  # noqa: BLE001 - one record at a time, to see whose it is
            return [self._one(record) for record in records]

    def _one(self, record: Record) -> Any:
        try:
            return self._compiled.one(record)
        except Exception as exc:  # noqa: BLE001 - the record's own failure
            return self._told(exc)


class KeyColumn:
    """A key of one or more expressions, for the records of a batch."""

    def __init__(self, word: str, texts: Sequence[str]) -> None:
        """`word` is what the file calls the key, for messages; raises ValueError for one that reads headers."""
        self._name = f"{word}: {', '.join(texts)}"
        self._parts = [ValueColumn(word, text) for text in texts]

    def over(self, records: Sequence[Record]) -> Keys:
        """The field of each record's key."""
        columns = [part.over(records) for part in self._parts]
        if len(columns) == 1:
            return [_field(value) for value in columns[0]]
        return [_field_of(parts) for parts in zip(*columns, strict=True)]

    def required(self, records: Sequence[Record]) -> list[bytes | RecordError]:
        """The same, where a null is a failure of its record."""
        return [self._null() if key is None else key for key in self.over(records)]

    def _null(self) -> RecordError:
        return RecordError(f"the key is null (in `{self._name}`)")


def _field(value: Any) -> bytes | RecordError | None:
    if value.__class__ not in _QUICK:
        return _field_of((value,))
    try:
        return b"[%b]" % canonical(value)
    except RecordError as exc:
        return exc


def _field_of(parts: Sequence[Any]) -> bytes | RecordError | None:
    """Of several parts, or of what is out of the ordinary."""
    for part in parts:
        if isinstance(part, RecordError):
            return part
    if any(part is None for part in parts):
        return None
    try:
        return field_of(parts)
    except RecordError as exc:
        return exc
