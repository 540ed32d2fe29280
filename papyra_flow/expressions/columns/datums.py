"""Values of an expression over a table, columns and constants, and what may be asked of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Datum: TypeAlias = "pa.Array | pa.Scalar"
_INTEGER, _FLOAT = pa.int64(), pa.float64()
DatumKind: TypeAlias = Literal["bool", "int", "float", "text", "null"]


class NotTheSameError(Exception):
    """Raised where a kernel's answer might not be Python's; never seen by users."""


def column(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece; raises KeyError if there is none of that name."""
    found = table.column(name)
    return widened(found.chunk(0) if found.num_chunks == 1 else found.combine_chunks())


def widened(value: pa.Array) -> pa.Array:
    """Numbers as wide as Python's: a sum of float32 is another one; raises ArrowInvalid beyond 64 bits with a sign."""
    kind = value.type
    if kind in (_INTEGER, _FLOAT):
        return value
    if pa.types.is_integer(kind):
        return value.cast(_INTEGER)
    return value.cast(_FLOAT) if pa.types.is_floating(kind) else value


def as_array(value: Datum, rows: int) -> pa.Array:
    """A value for each row."""
    return pa.repeat(value, rows) if isinstance(value, pa.Scalar) else value


def kind_of(value: Datum) -> DatumKind:
    """What a value is in Python; refuses what has no kernels here."""
    kind = value.type
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind):
        return "float"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_null(kind):
        return "null"
    raise NotTheSameError


def has_nulls(*values: Datum) -> bool:
    """Whether any of the values is null somewhere."""
    return any(not value.is_valid if isinstance(value, pa.Scalar) else value.null_count for value in values)


def any_true(mask: Datum) -> bool:
    """Whether a mask is true anywhere."""
    return bool(mask.as_py() if isinstance(mask, pa.Scalar) else pc.any(mask).as_py())


def require(holds: bool) -> None:
    """Refuse what a kernel is not for."""
    if not holds:
        raise NotTheSameError


def require_numbers(*values: Datum) -> None:
    """Refuse all but numbers without nulls."""
    require(all(kind_of(value) in {"int", "float"} for value in values) and not has_nulls(*values))


def require_integers(*values: Datum) -> None:
    """Refuse all but integers without nulls."""
    require(all(kind_of(value) == "int" for value in values) and not has_nulls(*values))


def require_texts(*values: Datum) -> None:
    """Refuse all but text without nulls."""
    require(all(kind_of(value) == "text" for value in values) and not has_nulls(*values))
