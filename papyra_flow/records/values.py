"""What a Python value is in JSON: one rule for each type, and a refusal for what JSON cannot hold.

`docs/reference/values.md` says the rules to users. Steps, expressions and tables make values that JSON has no type
for; a value is never written as something else than it is, such as null for a NaN.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from papyra_flow.errors import RecordError
from papyra_flow.records.durations import NANOSECONDS, iso_of_nanoseconds

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

MAX_DIGITS = 4299
"""Python reads integers of 4,300 characters and no longer ones, since it takes quadratic time (CVE-2020-10735)."""
MAX_DEPTH = 254
"""As deep as orjson writes."""
_LONGEST = 10**MAX_DIGITS
_PLAIN = frozenset({bool, int, str, type(None)})


def json_form(value: object, name: str = "") -> Value:
    """The value in types that JSON has; raises RecordError, with the place in the record, if it has none."""
    try:
        form = _form(value, name)
    except RecursionError as exc:
        raise RecordError("the record is nested too deeply, or contains itself") from exc
    layer, depth = [form], 0
    while layer := [inner for outer in layer for inner in _items_of(outer)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecordError(f"the record is nested more than {MAX_DEPTH} levels deep")
    return form


def _items_of(form: Value) -> Iterable[Value]:
    return form.values() if isinstance(form, dict) else form if isinstance(form, list) else ()


def record_form(record: Mapping[str, object]) -> dict[str, Value]:
    """`json_form` of a record."""
    form = json_form(record)
    if not isinstance(form, dict):
        raise RecordError(f"{record!r:.80} is not a record")
    return form


def all_finite(values: Iterable[object]) -> bool:
    """Whether no value, nor any inside it, is a float that is not finite; False also where only `json_form` can tell.

    Exact types only: this is asked of records that came out of a step, many at a time.
    """
    for value in values:
        kind = value.__class__
        if kind in _PLAIN:
            continue
        if kind is float:
            if not math.isfinite(value):  # type: ignore[arg-type]
                return False
        elif kind is dict:
            if not all_finite(value.values()):  # type: ignore[attr-defined]
                return False
        elif kind is list:
            if not all_finite(value):  # type: ignore[arg-type]
                return False
        else:
            return False
    return True


def refuse_non_finite(record: Mapping[str, object]) -> None:
    """Raise RecordError for a NaN or an infinity in a record, however deep in lists and objects."""
    try:
        if not all_finite(record.values()):
            for name, value in record.items():
                _refuse_non_finite(value, str(name))
    except RecursionError as exc:
        raise RecordError("the record is nested too deeply, or contains itself") from exc


def _refuse_non_finite(value: object, name: str) -> None:
    if isinstance(value, float):
        _of_float(value, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_non_finite(inner, _inside(name, str(key)))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            _refuse_non_finite(inner, f"{name}[{place}]")


def decimal_form(value: Decimal, name: str = "") -> int | float | str:
    """An integer without a fraction, a float if that has the same digits, else text with all of them."""
    if not value.is_finite():
        raise RecordError(f"{_shown(name)} is {value}, which is not a number that JSON has")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0:
        if value.adjusted() >= MAX_DIGITS:
            raise RecordError(f"{_shown(name)} is an integer of more than {MAX_DIGITS:,} digits")
        return int(value)
    number = float(value)
    if math.isfinite(number) and Decimal(repr(number)) == value:
        return number
    return format(value, "f") if value.adjusted() > -MAX_DIGITS else str(value)


def utc(value: datetime) -> datetime:
    """The time itself if it has a zone; without one it is UTC, whatever the machine's zone."""
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


# -- by type --------------------------------------------------------------------------------------------------


def _form(value: Any, name: str) -> Value:
    kind = type(value)
    if (exactly := _EXACTLY.get(kind)) is not None:
        return exactly(value, name)
    for types, form in _FORMS:
        if isinstance(value, types):
            return form(value, name)
    if dataclasses.is_dataclass(value):
        return _of_mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, name)
    if hasattr(value, "model_dump"):  # a pydantic model says itself what it is in JSON
        return _form(value.model_dump(mode="json"), name)
    if kind.__module__.partition(".")[0] == "numpy":
        return _of_numpy(value, name)
    raise RecordError(f"{_shown(name)} is of the type {kind.__qualname__}, which has no form in JSON")


def _of_text(value: str, name: str) -> Value:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise RecordError(f"{_shown(name)} is text with a lone surrogate, which is not Unicode") from exc
    return str.__str__(value)


def _of_integer(value: int, name: str) -> Value:
    number = int(value)
    if abs(number) >= _LONGEST:
        raise RecordError(f"{_shown(name)} is an integer of more than {MAX_DIGITS:,} digits")
    return number


def _of_float(value: float, name: str) -> Value:
    number = float(value)
    if not math.isfinite(number):
        raise RecordError(f"{_shown(name)} is {number}, which is not a number that JSON has")
    return number


def _of_datetime(value: datetime, name: str) -> Value:
    if value != value:  # noqa: PLR0124 - pandas' NaT
        raise RecordError(f"{_shown(name)} is {value}, which is not a time")
    return utc(value).isoformat()


def _of_duration(value: timedelta, name: str) -> Value:
    if value != value:  # noqa: PLR0124 - pandas' NaT
        raise RecordError(f"{_shown(name)} is {value}, which is not a duration")
    return iso_of_nanoseconds((value.days * 86400 + value.seconds) * NANOSECONDS + value.microseconds * 1000)


def _of_mapping(value: Mapping[Any, Any], name: str) -> Value:
    found: dict[str, Value] = {}
    for key, inner in value.items():
        text = _key(key, name)
        if text in found:
            raise RecordError(f"{_shown(name)} has two keys that are {text!r} in JSON")
        found[text] = _form(inner, _inside(name, text))
    return found


def _key(key: object, name: str) -> str:
    form = _form(key, f"a key of {name}" if name else "a key")
    if isinstance(form, str):
        return form
    if isinstance(form, list | dict):
        raise RecordError(f"{_shown(name)} has a key of the type {type(key).__qualname__}, which has no form in JSON")
    return "null" if form is None else str(form).lower() if isinstance(form, bool) else str(form)


def _of_items(value: Iterable[Any], name: str) -> Value:
    return [_form(inner, f"{name}[{place}]") for place, inner in enumerate(value)]


def _of_set(value: Set[Any], name: str) -> Value:
    """In order where there is one, so that the same set is always the same text."""
    try:
        return _of_items(sorted(value), name)
    except TypeError:
        return _of_items(sorted(value, key=repr), name)


def _of_numpy(value: Any, name: str) -> Value:
    """Scalars and arrays as the Python values that they hold; times keep their nanoseconds."""
    if getattr(value, "ndim", 0):
        return _of_items(value, name)
    kind, text = value.dtype.kind, str(value)
    if kind in "mM":
        if text == "NaT":
            raise RecordError(f"{_shown(name)} is NaT, which is not a time")
        if kind == "M":
            return f"{text}+00:00" if "T" in text else text
        return _of_nanoseconds(value, name)
    held = value.tolist()
    if type(held) is type(value):
        raise RecordError(f"{_shown(name)} is of the type numpy.{value.dtype}, which has no form in JSON")
    return _form(held, name)


def _of_nanoseconds(value: Any, name: str) -> Value:
    try:
        exact = value.astype("timedelta64[ns]")
        same = bool(exact == value)
    except (TypeError, ValueError, OverflowError):
        same = False
    if not same:
        raise RecordError(f"{_shown(name)} is {value}, which is not a number of nanoseconds")
    return iso_of_nanoseconds(int(exact.astype("int64")))


_FORMS: Sequence[tuple[type | tuple[type, ...], Callable[[Any, str], Value]]] = (
    (Enum, lambda value, name: _form(value.value, name)),
    (str, _of_text),
    (int, _of_integer),
    (float, _of_float),
    (Mapping, _of_mapping),
    ((list, tuple), _of_items),
    (Decimal, decimal_form),
    (datetime, _of_datetime),
    ((date, time), lambda value, _: value.isoformat()),
    (timedelta, _of_duration),
    (UUID, lambda value, _: str(value)),
    ((bytes, bytearray, memoryview), lambda value, _: base64.b64encode(value).decode()),
    (Set, _of_set),
    (Sequence, _of_items),
)
"""In this order: an Enum may be text, too, and a datetime is a date."""


_EXACTLY: Mapping[type, Callable[[Any, str], Value]] = {
    type(None): lambda _value, _name: None,
    bool: lambda value, _: bool(value),
    dict: _of_mapping,
    float: _of_float,
    int: _of_integer,
    list: _of_items,
    str: _of_text,
}
"""The same for JSON's own types, which most values are."""


def _inside(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _shown(name: str) -> str:
    return f"the field {name!r}" if name else "the record"
