"""Entries of a stream and the records they hold.

An entry has the field `data`, a JSON object, and optional headers beside it (`key`, `ts`, `traceparent`);
with the format `fields` the entry's fields themselves are the record, as many services write them.
What does not live here: reading entries (`reading`) and writing them (`commit`, `ingest`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import orjson

from papyra_flow.errors import RecordError, UndecodableError

Value: TypeAlias = "None | bool | int | float | str | list[Value] | dict[str, Value]"
Record: TypeAlias = dict[str, Value]
Format: TypeAlias = Literal["json", "fields"]

DATA = b"data"
_JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Entry:
    """One entry of a stream as it was read; `fields` is the flat list field, value, field, value, ..."""

    __slots__ = ("deliveries", "fields", "id", "key")

    def __init__(self, key: str, id: bytes, fields: Sequence[bytes], deliveries: int = 1) -> None:  # noqa: A002
        self.key = key
        self.id = id
        self.fields = fields
        self.deliveries = deliveries

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, {self.id!r})"

    @property
    def data(self) -> bytes | None:
        """The raw value of the field `data`, or None."""
        fields = self.fields
        if fields and fields[0] == DATA:
            return fields[1]
        for index in range(0, len(fields), 2):
            if fields[index] == DATA:
                return fields[index + 1]
        return None

    @property
    def headers(self) -> dict[bytes, bytes] | None:
        """The fields beside `data`, or None where there are none (the usual case, made cheap)."""
        fields = self.fields
        if len(fields) <= 2:
            return None
        return {fields[i]: fields[i + 1] for i in range(0, len(fields), 2) if fields[i] != DATA}


def decode_json(entry: Entry) -> Record:
    """The record of an entry in the format `json`; raises UndecodableError."""
    data = entry.data
    if data is None:
        raise UndecodableError("the entry has no field `data`; declare `format: fields` if its fields are the record")
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UndecodableError(f"`data` is not JSON: {exc}") from exc
    if type(record) is not dict:
        raise UndecodableError(f"`data` is a JSON {type(record).__name__}, not an object")
    return record


def decode_fields(entry: Entry) -> Record:
    """The record of an entry in the format `fields`, all values strings; raises UndecodableError."""
    fields = entry.fields
    try:
        return {fields[i].decode(): fields[i + 1].decode() for i in range(0, len(fields), 2)}
    except UnicodeDecodeError as exc:
        raise UndecodableError(f"a field is not UTF-8 text: {exc.reason}") from exc


def encode_json(record: Mapping[str, object]) -> bytes:
    """A record as JSON; raises RecordError for values that JSON does not have."""
    try:
        return orjson.dumps(record, option=_JSON_OPTIONS)
    except (TypeError, orjson.JSONEncodeError) as exc:
        raise RecordError(f"the record cannot be written as JSON: {exc}") from exc


def encode_fields(record: Mapping[str, object]) -> list[bytes]:
    """A record as the flat fields of an entry: strings as they are, null as empty, all else as JSON."""
    fields: list[bytes] = []
    for name, value in record.items():
        if isinstance(value, str):
            text = value.encode()
        elif value is None:
            text = b""
        else:
            text = encode_json({"v": value})[5:-1]
        fields += (str(name).encode(), text)
    if not fields:
        raise RecordError("a record without fields cannot be written in the format `fields`")
    return fields


def parse_id(text: bytes | str) -> tuple[int, int]:
    """An entry id as its two numbers, so that ids can be compared; a missing sequence is 0."""
    if isinstance(text, bytes):
        text = text.decode()
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)
