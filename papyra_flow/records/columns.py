"""Columns of Python values: an Arrow array that holds exactly them, or a refusal.

Arrow takes a mixture of types for what they have in common, and so makes a truth 1.0, text bytes, and a time a date.
Here a column has values of one type, except that numbers of different types go into one where each stays what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

from papyra_flow.errors import RecordError
from papyra_flow.records.json_codec import text_form
from papyra_flow.records.values import json_form, utc

TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", tz="UTC"),
    "float": pa.float64(),
    "int": pa.int64(),
    "str": pa.string(),
}
LONG_INTEGER = pa.decimal128(38, 0)
"""For integers beyond 64 bits: JSON and Python get integers again, and DuckDB reads it."""
_LONG, _TOO_LONG = 2**63, 10**38
_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError, RecordError)
_NONE = type(None)
_NUMBERS = frozenset({int, float, Decimal})
_ONE_TO_ONE = frozenset({bool, int, float, str, list, dict, Decimal, datetime, date, time, timedelta, bytes})


def array_of(values: Sequence[Any]) -> pa.Array:
    """Values without a name as a column; raises RecordError if they are not one."""
    try:
        return _inferred(values)
    except _MISFITS as exc:
        raise RecordError(f"the values do not fit one column: {exc}") from exc


def column_of(name: str, values: Sequence[Any], wanted: pa.DataType | None = None) -> pa.Array:
    """The values as a column, of a type if one is wanted; raises RecordError if they are not one column."""
    try:
        return _typed(values, wanted)
    except _MISFITS as exc:
        if wanted is None:
            raise RecordError(f"the values of the field {name!r} do not fit one column: {exc}") from exc
    typed = []
    for value in values:
        try:
            typed.append(_typed([value], wanted))
        except _MISFITS as exc:
            told = f"the field {name!r} is {_shown(value)}, which does not fit its column of {wanted}"
            raise RecordError(told) from exc
    return pa.concat_arrays(typed)


def usual_type(values: Sequence[Any]) -> pa.DataType:
    """The type of a column of the values, or of those of them that are of the most frequent type."""
    try:
        return _inferred(values).type
    except _MISFITS:
        fitting = [value for value in values if value is not None and _fits(value)]
    kinds = Counter(map(type, fitting)).most_common(1)
    try:
        return _inferred([value for value in fitting if type(value) is kinds[0][0]]).type if kinds else pa.null()
    except _MISFITS:
        return _inferred(fitting[:1]).type


def _fits(value: object) -> bool:
    try:
        _inferred([value])
    except _MISFITS:
        return False
    return True


# -- of the type that the values have -------------------------------------------------------------------------


def _inferred(values: Sequence[Any]) -> pa.Array:
    kinds = set(map(type, values)) - {_NONE}
    if not kinds <= _ONE_TO_ONE:
        values = [value if type(value) in _ONE_TO_ONE else _plain(value) for value in values]
        kinds = set(map(type, values)) - {_NONE}
    if len(kinds) > 1:
        return _numbers(values, kinds)
    kind = kinds.pop() if kinds else _NONE
    if kind is list or kind is dict:
        _refuse_mixtures(values, kind)
    elif kind is datetime:
        values = _in_one_zone([value if value is None else utc(value) for value in values])
    elif kind is time:
        _refuse_zones(values)
    try:
        return pa.array(values)
    except OverflowError:
        return pa.array(values, _with_long_integers(pa.array(_cut(values)).type))


def _in_one_zone(values: Sequence[datetime | None]) -> Sequence[datetime | None]:
    """The same times in UTC where their offsets differ: a column has one, and the first may not fit the others."""
    if len({value.utcoffset() for value in values if value is not None}) < 2:
        return values
    return [value if value is None else value.astimezone(UTC) for value in values]


def _cut(value: Any) -> Any:
    """The values with a zero for each integer beyond 64 bits, to see what type is around it."""
    if isinstance(value, list | tuple):
        return [_cut(item) for item in value]
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    if type(value) is int and abs(value) >= _LONG:
        if abs(value) >= _TOO_LONG:
            raise ValueError("an integer has more than 38 digits")
        return 0
    return value


def _with_long_integers(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_with_long_integers(kind.value_type))
    if pa.types.is_struct(kind):
        fields = (kind.field(number) for number in range(kind.num_fields))
        return pa.struct([field.with_type(_with_long_integers(field.type)) for field in fields])
    return LONG_INTEGER if pa.types.is_integer(kind) else kind


def _refuse_zones(values: Sequence[time | None]) -> None:
    if any(value is not None and value.tzinfo is not None for value in values):
        raise ValueError("a time of day has a zone, for which Arrow has no type")


def _plain(value: Any) -> Any:
    """A value of another type in the form that it has in JSON, which is text, a number, a list or a dict."""
    if isinstance(value, tuple):
        return list(value)
    return value if value is None else json_form(value)


def _numbers(values: Sequence[Any], kinds: set[type]) -> pa.Array:
    """Numbers of different types in one column, each as exactly what it is: floats, or decimals."""
    if not kinds <= _NUMBERS:
        raise TypeError(f"there are {' and '.join(sorted(kind.__name__ for kind in kinds))} among them")
    if Decimal in kinds:
        return pa.array([Decimal(repr(value)) if type(value) is float else value for value in values])
    floats = [value if value is None else float(value) for value in values]
    for value, number in zip(values, floats, strict=True):
        if type(value) is int and value != number:
            raise ValueError(f"there are floats among them, and {_shown(value)} is not one")
    return pa.array(floats, pa.float64())


def _refuse_mixtures(values: Sequence[Any], kind: type) -> None:
    """The same for what stands in lists and in fields of dicts."""
    present = [value for value in values if value is not None]
    inner: list[list[Any]] = []
    if kind is list:
        inner.append(list(chain.from_iterable(present)))
    else:
        names = dict.fromkeys(chain.from_iterable(present))
        inner += ([value[name] for value in present if name in value] for name in names)
    for found in inner:
        kinds = set(map(type, found)) - {_NONE}
        if len(kinds) > 1 and not kinds <= {int, float}:
            raise TypeError(f"there are {' and '.join(sorted(kind.__name__ for kind in kinds))} inside them")
        if kinds & {list, dict}:
            _refuse_mixtures(found, kinds.pop())
        elif kinds == {time}:
            _refuse_zones(found)


# -- of a type that is wanted ---------------------------------------------------------------------------------


def _typed(values: Sequence[Any], wanted: pa.DataType | None) -> pa.Array:
    found = _inferred(values)
    if wanted is None or found.type == wanted or pa.types.is_null(found.type):
        return found if wanted is None else found.cast(wanted)
    for fits, convert in _CONVERSIONS:
        if fits(wanted):
            return convert(found, values, wanted)
    return found.cast(wanted)


def _as_text(_found: pa.Array, values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    return pa.array([None if value is None else text_form(value) for value in values], wanted)


def _as_truth(found: pa.Array, _values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    return _from(found, wanted, pa.types.is_string)


def _as_number(found: pa.Array, values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    if pa.types.is_floating(wanted) and pa.types.is_decimal(found.type):
        floats = [value if value is None else float(value) for value in values]
        if any(
            value is not None and Decimal(repr(number)) != value for value, number in zip(values, floats, strict=True)
        ):
            raise ValueError("a float has other digits")
        return pa.array(floats, wanted)
    return _from(found, wanted, pa.types.is_string, _is_number)


def _as_time(found: pa.Array, values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    """Text without a zone is UTC, as every naive time."""
    if not pa.types.is_string(found.type):
        return _from(found, wanted, pa.types.is_date, pa.types.is_timestamp)
    try:
        return found.cast(wanted)
    except pa.ArrowInvalid:
        return pa.array([value if value is None else utc(datetime.fromisoformat(value)) for value in values], wanted)


def _as_date(found: pa.Array, _values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    return _from(found, wanted, pa.types.is_string, pa.types.is_date)


def _from(found: pa.Array, wanted: pa.DataType, *kinds: Callable[[pa.DataType], bool]) -> pa.Array:
    if not any(kind(found.type) for kind in kinds):
        raise TypeError(f"{found.type} does not become {wanted}")
    return found.cast(wanted)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_CONVERSIONS: Sequence[
    tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, Sequence[Any], pa.DataType], pa.Array]]
] = (
    (pa.types.is_string, _as_text),
    (pa.types.is_boolean, _as_truth),
    (_is_number, _as_number),
    (pa.types.is_timestamp, _as_time),
    (pa.types.is_date, _as_date),
)
"""What text and numbers may become a column of a wanted type, and how; a type that is not here has Arrow's own cast."""


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001 - an integer of more than 4,300 digits, or an object of the user's
        return f"a {type(value).__qualname__}"
