"""JSON as records have it: integers of any size are read and written as they are, and nothing becomes null unseen.

msgspec reads, because it keeps integers beyond 64 bits, which orjson makes floats of. orjson writes, because it refuses
the types that JSON has not; those, and what it would write as null (NaN, infinities), take the longer way through
`values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

import msgspec
import orjson
import re2

from papyra_flow.errors import RecordError, UndecodableError
from papyra_flow.records.values import MAX_DIGITS, all_finite, json_form

read_quickly: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""Bytes to a value; raises one of `UNREADABLE`."""
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_write_any: Callable[[object], bytes] = msgspec.json.Encoder().encode
_STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
"""What orjson would write by rules of its own is refused: naive times, seconds in offsets, fields with underscores."""


_NULL = re2.compile(rb"null")
"""Four times as fast as `in`, and asked of all that leaves a stage."""


def read_json(data: bytes | str) -> Any:
    """The value that a JSON text stands for; raises UndecodableError with what is wrong with it."""
    try:
        return read_quickly(data)  # type: ignore[arg-type]
    except UNREADABLE as exc:
        raise UndecodableError(_reason(data, exc)) from exc


def write_json(value: object) -> bytes:
    """A value as JSON; raises RecordError for what JSON cannot hold."""
    data = None
    with suppress(TypeError):
        data = orjson.dumps(value, None, _STRICT)
    if data is None or (b"null" in data and not all_finite((value,))):
        data = _write_any(json_form(value))
    return data


def write_values(values: Sequence[object]) -> list[bytes]:
    """Values as JSON, all at once where they can be; raises RecordError for what JSON cannot hold."""
    try:
        written = list(map(orjson.dumps, values, repeat(None), repeat(_STRICT)))
    except TypeError:
        return list(map(write_json, values))
    if _NULL.search(b"".join(written)) is None:
        return written
    return [
        text if b"null" not in text or all_finite((value,)) else write_json(value)
        for text, value in zip(written, values, strict=True)
    ]


def write_records(records: Sequence[Mapping[str, object]]) -> list[bytes] | None:
    """Records as JSON, all at once; None if there is one that cannot be written."""
    try:
        written = list(map(orjson.dumps, records, repeat(None), repeat(_STRICT)))
        if _nulls_are_none(written, records):
            return written
    except TypeError:
        pass
    try:
        return list(map(write_json, records))
    except RecordError:
        return None


def _nulls_are_none(written: Sequence[bytes], records: Sequence[Mapping[str, object]]) -> bool:
    """Whether each null in the text is a field that is None; False if it may be a NaN, or one of them is further in."""
    text = b"".join(written)
    if _NULL.search(text) is None:
        return True
    return text.count(b"null") == list(chain.from_iterable(record.values() for record in records)).count(None)


def text_form(value: object, name: str = "") -> str:
    """The value as the text of a field or a cell: text as it is, null as nothing, all else as JSON writes it."""
    if type(value) is str and value.isascii():
        return value
    form = json_form(value, name)
    if form is None:
        return ""
    return form if isinstance(form, str) else _write_any(form).decode()


def _reason(data: bytes | str, exc: Exception) -> str:
    text = str(exc)
    if text.startswith("Integer value out of range"):
        return f"an integer has more than {MAX_DIGITS:,} digits"
    if text.startswith("Number out of range"):
        return "a number is too large for a float"
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as told:  # it says the line and column
        return str(told)
    return text
