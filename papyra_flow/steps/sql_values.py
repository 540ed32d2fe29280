"""DuckDB's types as Arrow's without a change of value.

DuckDB hands some types to Arrow as something else: a UHUGEINT from 2^127 on is negative, a time loses its zone, bits
and long integers are bytes of its own format. Those are cast before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from papyra_flow.errors import RecordError

_CASTS = {
    "bignum": "HUGEINT",
    "bit": "VARCHAR",
    "time with time zone": "VARCHAR",
    "uhugeint": "HUGEINT",
    "varint": "HUGEINT",
}
"""What a type is cast to; an integer that HUGEINT does not hold is an error of the query."""


def readable(table: pa.Table) -> pa.Table:
    """The table as DuckDB reads it whole: intervals have microseconds; raises ArrowInvalid if there is more."""
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if pa.types.is_duration(column.type) and column.type.unit == "ns":
            table = table.set_column(number, name, column.cast(pa.duration("us")))
    return table


def exactly(result: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The result in types that Arrow gets as they are; raises RecordError for two columns of one name."""
    names, types = result.columns, result.types
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise RecordError(f"the query returns two columns called {repeated[0]!r}; name one of them with AS")
    casts = [_cast_of(kind) for kind in types]
    if not any(casts):
        return result
    return result.project(
        ", ".join(
            f"CAST({_quoted(name)} AS {cast}) AS {_quoted(name)}" if cast else _quoted(name)
            for name, cast in zip(names, casts, strict=True)
        )
    )


def plain_columns(table: pa.Table) -> pa.Table:
    """Sums and other whole numbers, which are decimals to Arrow, as 64-bit integers where they fit."""
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if not pa.types.is_decimal(column.type):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as exc:  # DuckDB's longest integers have a digit more than Arrow's decimals
            raise RecordError(f"the query's column {name!r} has a number of more than 38 digits") from exc
        if column.type.scale == 0:
            with suppress(pa.ArrowInvalid):
                table = table.set_column(number, name, column.cast(pa.int64()))
    return table


def _cast_of(kind: Any) -> str | None:
    """The type to cast to, as SQL; None where it can stay."""
    if kind.id in _CASTS:
        return _CASTS[kind.id]
    if kind.id not in {"list", "array", "struct", "map", "union"}:
        return None
    children: Sequence[tuple[str, Any]] = kind.children
    if kind.id == "array":
        (_, inner), (_, size) = children
        return f"{found}[{size}]" if (found := _cast_of(inner)) else None
    casts = [_cast_of(inner) for _, inner in children]
    if not any(casts):
        return None
    if kind.id == "union":
        return "VARCHAR"
    inside = [cast or str(inner) for cast, (_, inner) in zip(casts, children, strict=True)]
    if kind.id == "list":
        return f"{inside[0]}[]"
    if kind.id == "map":
        return f"MAP({', '.join(inside)})"
    fields = zip((name for name, _ in children), inside, strict=True)
    return f"STRUCT({', '.join(f'{_quoted(name)} {inner}' for name, inner in fields)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
