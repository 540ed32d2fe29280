"""The keys of a batch, as the fields of state that they stand for: evaluated for all rows at once where that goes."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, TypeAlias

from papyra_flow.errors import RecordError
from papyra_flow.expressions.check import checked
from papyra_flow.expressions.compiled import compile_expression, explain
from papyra_flow.records.entries import Record
from papyra_flow.state.fields import canonical_all, field_of

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
        self._texts = tuple(texts)
        self._name = f"{word}: {', '.join(texts)}"
        self._parts = [ValueColumn(word, text) for text in texts]

    def over(self, records: Sequence[Record]) -> Keys:
        """The field of each record's key."""
        columns = [part.over(records) for part in self._parts]
        if len(columns) == 1:
            return _fields(columns[0])
        return [_field_of(parts) for parts in zip(*columns, strict=True)]

    def required(self, records: Sequence[Record]) -> list[bytes | RecordError]:
        """The same, where a null is a failure of its record."""
        return [self._null() if key is None else key for key in self.over(records)]

    @property
    def meaning(self) -> str:
        """Its expressions in one spelling, with the values of variables."""
        return ", ".join(ast.unparse(checked(text)) for text in self._texts)

    def _null(self) -> RecordError:
        return RecordError(f"the key is null (in `{self._name}`)")


def _fields(values: Sequence[Any]) -> Keys:
    """Of one part; what most keys are is no matter of each row."""
    if set(map(type, values)) <= _QUICK:
        try:
            return [b"[%b]" % text for text in canonical_all(values)]
        except RecordError:
            pass
    return [_field_of((value,)) for value in values]


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
