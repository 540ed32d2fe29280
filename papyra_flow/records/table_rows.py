"""A table's rows as records: what each of Arrow's types is in Python, exactly.

What has a number's digits is a number (decimals, as `docs/reference/values.md` says), a time without a zone is UTC, and
nanoseconds, which Python's times do not have, are kept in text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from papyra_flow.errors import RecordError
from papyra_flow.records.durations import iso_duration, iso_of_nanoseconds
from papyra_flow.records.values import Value, decimal_form, refuse_non_finite, utc

_SCHEMAS = 8
"""A stage's steps make few different ones."""


def records_of(table: pa.Table) -> list[dict[str, Value]]:
    """A table's rows as records; raises RecordError for what has no form in Python."""
    refuse_repeated_names(table)
    names = table.column_names
    if all(map(_is_plain, table.schema.types)):
        rows: list[dict[str, Value]] = table.to_pylist()
        return rows
    columns = [_values(name, column) for name, column in zip(names, table.columns, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


class Fitness:
    """Whether tables hold only what records can; of each schema it knows the columns that it has to look at."""

    def __init__(self) -> None:
        self._known: list[tuple[pa.Schema, list[int]]] = []

    def require(self, table: pa.Table) -> None:
        """Raise RecordError for a table with a NaN or an infinity, or with two columns of one name."""
        for number in self._to_look_at(table):
            _refuse_non_finite(table.field(number).name, table.column(number))

    def _to_look_at(self, table: pa.Table) -> list[int]:
        for known, numbers in self._known:
            if known == table.schema:
                return numbers
        refuse_repeated_names(table)
        numbers = [number for number, kind in enumerate(table.schema.types) if _may_hold_floats(kind)]
        self._known = [(table.schema, numbers), *self._known[: _SCHEMAS - 1]]
        return numbers


def refuse_repeated_names(table: pa.Table) -> None:
    """Raise RecordError for a table with two columns of one name, of which a record would have the last."""
    names = table.column_names
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise RecordError(f"the table has two columns called {name!r}")


def _refuse_non_finite(name: str, column: pa.ChunkedArray | pa.Array) -> None:
    kind = column.type
    if pa.types.is_floating(kind):
        # A sum is cheap, and finite if everything in it is; if it is not, it may only have grown too large.
        total = pc.sum(column).as_py()
        if total is not None and not math.isfinite(total):
            for value in column.to_pylist():
                if value is not None and not math.isfinite(value):
                    raise RecordError(f"the field {name!r} is {value}, which is not a number that JSON has")
    elif pa.types.is_struct(kind):
        for part in column.chunks if isinstance(column, pa.ChunkedArray) else (column,):
            for number in range(kind.num_fields):
                _refuse_non_finite(f"{name}.{kind.field(number).name}", pc.struct_field(part, number))
    elif pa.types.is_dictionary(kind):
        _refuse_non_finite(name, column.cast(kind.value_type))
    elif _holds_items(kind):
        for part in column.chunks if isinstance(column, pa.ChunkedArray) else (column,):
            _refuse_non_finite(f"{name}[]", part.flatten())
    elif pa.types.is_map(kind):
        refuse_non_finite({name: column.to_pylist()})


def _may_hold_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_nested(kind) or pa.types.is_dictionary(kind))


def _holds_items(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


# -- by type --------------------------------------------------------------------------------------------------


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own way to Python gives what we want."""
    if pa.types.is_struct(kind):
        return all(_is_plain(kind.field(number).type) for number in range(kind.num_fields))
    if _holds_items(kind):
        return _is_plain(kind.value_type)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_null(kind)
    )


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    try:
        if _is_plain(kind):
            found: list[Any] = column.to_pylist()
            return found
        if isinstance(kind, pa.BaseExtensionType) and isinstance(kind, pa.OpaqueType):
            raise RecordError(f"the field {name!r} is of the type {kind.type_name}, which has no form in JSON")
        column, convert = _readable(column)
        return [convert(value) for value in column.to_pylist(maps_as_pydicts="strict")]
    except KeyError as exc:
        raise RecordError(f"the field {name!r} has a key twice, or one that is not text") from exc
    except (pa.ArrowException, ValueError, OverflowError) as exc:
        raise RecordError(f"the field {name!r} holds a {kind} that Python has no value for: {exc}") from exc


def _readable(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Callable[[Any], Any]]:
    """The column in types that Python reads, and what is to be done with each value then."""
    kind = column.type
    coarser = _in_microseconds(kind)
    if coarser == kind:
        return column, _python
    try:
        return column.cast(coarser), _python
    except pa.ArrowInvalid:  # it would lose something
        if pa.types.is_timestamp(kind):
            return column.cast(pa.string()), _of_timestamp
        if pa.types.is_time64(kind):
            return column.cast(pa.string()), _unchanged
        if pa.types.is_duration(kind):
            return column.cast(pa.int64()), _of_nanoseconds
        raise


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """The type with microseconds in place of nanoseconds."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    if pa.types.is_struct(kind):
        fields = (kind.field(number) for number in range(kind.num_fields))
        return pa.struct([field.with_type(_in_microseconds(field.type)) for field in fields])
    return kind


def _python(value: Any) -> Any:
    """A value as a record has it: a decimal is a number where that has its digits, a naive time is UTC."""
    if isinstance(value, Decimal):
        form = decimal_form(value)
        return value if isinstance(form, str) else form
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, pa.MonthDayNano):
        return iso_duration(value.months, value.days, value.nanoseconds)
    if isinstance(value, list):
        return [_python(item) for item in value]
    if isinstance(value, dict):
        return {name: _python(item) for name, item in value.items()}
    return value


def _unchanged(value: Any) -> Any:
    return value


def _of_nanoseconds(value: int | None) -> str | None:
    return None if value is None else iso_of_nanoseconds(value)


def _of_timestamp(text: str | None) -> str | None:
    """A timestamp in Arrow's text (`2024-01-01 00:00:00.000000001+0100`, `...Z`, or without a zone) in ISO 8601."""
    if text is None:
        return None
    day, _, clock = text.partition(" ")
    if clock.endswith("Z"):
        clock = clock[:-1]
    elif clock[-5:-4] in {"+", "-"}:
        return f"{day}T{clock[:-2]}:{clock[-2:]}"
    return f"{day}T{clock}+00:00"
