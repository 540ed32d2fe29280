"""What a key is in bytes: for a field of state, for a timer, and for the partition that it belongs to.

Fields and the members of timers are arrays in canonical JSON, `["c1",1700000000000]`: the parts of the key, then what a
step puts behind them, such as the start of a window. So they can be read by whoever looks at the server. Canonical
means that equal values are equal bytes: no spaces, text as UTF-8, the names of an object in order, and a number without
a fraction as an integer (1.0 is 1).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from papyra_flow.errors import RecordError
from papyra_flow.records.json_codec import read_json, write_json
from papyra_flow.records.values import Value, json_form

_SMALL = 2**63


def canonical(value: object) -> bytes:
    """A value as canonical JSON; raises RecordError for one that JSON does not have, such as a NaN."""
    kind = type(value)
    if kind is str:
        try:
            return orjson.dumps(value)
        except TypeError as exc:
            raise RecordError("the key is text with a lone surrogate, which is not Unicode") from exc
    if value is None:
        return b"null"
    if kind is int and -_SMALL < value < _SMALL:  # type: ignore[operator]
        return b"%d" % value  # type: ignore[str-format]
    if kind is bool:
        return b"true" if value else b"false"
    return write_json(_whole(json_form(value)))


def canonical_all(values: Sequence[object]) -> list[bytes]:
    """The same for many values; raises RecordError if there is one that JSON does not have."""
    if set(map(type, values)) == {str}:
        try:
            return list(map(orjson.dumps, values))
        except TypeError:
            pass
    return list(map(canonical, values))


def key_text(value: object) -> bytes:
    """The text that decides on a key's partition: a string's UTF-8, else the value's canonical JSON."""
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError as exc:
            raise RecordError("the key is text with a lone surrogate, which is not Unicode") from exc
    form = json_form(value)
    return form.encode() if isinstance(form, str) else canonical(form)


def partition_of(text: bytes, partitions: int) -> int:
    """The number of the partition that a key's text belongs to: any service can compute it."""
    return zlib.crc32(text) % partitions


def field_of(parts: Iterable[object]) -> bytes:
    """The field, or the member, of a key's parts and what stands behind them; raises RecordError."""
    return b"[%b]" % b",".join(map(canonical, parts))


def with_part(field: bytes, part: object) -> bytes:
    """A field with one more part at its end."""
    return b"%b%b%b]" % (field[:-1], b"" if field == b"[]" else b",", canonical(part))


def without_last(member: bytes) -> tuple[bytes, Any]:
    """What `with_part` put together: the field, and the part at its end."""
    last = parts_of(member)[-1]
    return (member[: -len(canonical(last)) - 2] or b"[") + b"]", last


def parts_of(field: bytes) -> list[Any]:
    """The parts of a field or a member; raises UndecodableError for what is not JSON."""
    parts: list[Any] = read_json(field)
    return parts


def _whole(form: Value) -> Value:
    """A value with names in order, and numbers without a fraction as integers."""
    if isinstance(form, float):
        return int(form) if form.is_integer() else form
    if isinstance(form, list):
        return [_whole(item) for item in form]
    if isinstance(form, dict):
        return {name: _whole(form[name]) for name in sorted(form)}
    return form
