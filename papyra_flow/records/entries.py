"""Entries of a stream and the records they hold.

An entry has the field `data`, a JSON object, and optional headers beside it (`key`, `ts`, `traceparent`);
with the format `fields` the entry's fields themselves are the record, as many services write them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from papyra_flow.errors import RecordError, UndecodableError
from papyra_flow.records import values
from papyra_flow.records.json_codec import UNREADABLE, read_json, read_quickly, text_form, write_json
from papyra_flow.records.values import record_form

Value: TypeAlias = values.Value
Record: TypeAlias = dict[str, Value]
Format: TypeAlias = Literal["json", "fields", "arrow"]

DATA = b"data"
TABLE_MAGIC = b"\xff\xff\xff\xff"
"""What the bytes of a table begin with (an Arrow IPC stream), and JSON never does."""


class Origin(NamedTuple):
    """What an entry was before it waited for another attempt, or was replayed from the dead letters."""

    key: str
    id: bytes
    earlier: int = 0
    """Attempts before it was replayed: they are told, and count against nothing."""


class Entry:
    """One entry of a stream as it was read; `fields` is the flat list field, value, field, value, ..."""

    __slots__ = ("came_from", "deliveries", "fields", "id", "key")

    def __init__(
        self,
        key: str,
        id: bytes,  # noqa: A002
        fields: Sequence[bytes],
        deliveries: int = 1,
        came_from: Origin | None = None,
    ) -> None:
        self.came_from = came_from
        self.key = key
        self.id = id
        self.fields = fields
        self.deliveries = deliveries

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, {self.id!r})"

    @property
    def origin(self) -> Origin:
        """The stream and id that it had first, or has."""
        return self.came_from or Origin(self.key, self.id)

    @property
    def data(self) -> bytes | None:
        """The raw value of the field `data`, or None."""
        return value_of(self.fields)


def value_of(fields: Sequence[bytes]) -> bytes | None:
    """The value of the field `data` among flat fields, or None."""
    if fields and fields[0] == DATA:
        return fields[1]
    for index in range(0, len(fields), 2):
        if fields[index] == DATA:
            return fields[index + 1]
    return None


def headers_of(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    """The fields beside `data`."""
    return {fields[i]: fields[i + 1] for i in range(0, len(fields), 2) if fields[i] != DATA}


def decode_json(fields: Sequence[bytes]) -> Record:
    """The record of an entry in the format `json`, from its flat fields; raises UndecodableError."""
    data = value_of(fields)
    if data is None:
        raise UndecodableError("the entry has no field `data`; declare `format: fields` if its fields are the record")
    try:
        record = read_json(data)
    except UndecodableError as exc:
        raise UndecodableError(f"`data` is not JSON: {exc}") from exc
    if type(record) is not dict:
        raise UndecodableError(f"`data` is a JSON {type(record).__name__}, not an object")
    return record


def decode_all(data: Sequence[bytes]) -> list[Record] | None:
    """The records of as many JSON texts, all at once; None if one of them is none."""
    try:
        values = list(map(read_quickly, data))
    except UNREADABLE:
        return None
    return values if set(map(type, values)) == {dict} else None


def decode_fields(fields: Sequence[bytes]) -> Record:
    """The record of an entry in the format `fields`, all values strings; raises UndecodableError."""
    try:
        return {fields[i].decode(): fields[i + 1].decode() for i in range(0, len(fields), 2)}
    except UnicodeDecodeError as exc:
        raise UndecodableError(f"a field is not UTF-8 text: {exc.reason}") from exc


def encode_json(record: Mapping[str, object]) -> bytes:
    """A record as JSON; raises RecordError for values that JSON does not have."""
    return write_json(record)


def encode_fields(record: Mapping[str, object]) -> list[bytes]:
    """A record as the flat fields of an entry: text as it is, null as empty, all else as JSON; raises RecordError."""
    fields: list[bytes] = []
    for name, value in record_form(record).items():
        fields += (name.encode(), text_form(value).encode())
    if not fields:
        raise RecordError("a record without fields cannot be written in the format `fields`")
    return fields


class Codec(NamedTuple):
    """How a record stands in an entry's flat fields."""

    decode: Callable[[Sequence[bytes]], Record]
    encode: Callable[[Mapping[str, object]], list[bytes]]


CODECS: Mapping[Format, Codec] = {
    "json": Codec(decode_json, lambda record: [DATA, encode_json(record)]),
    "fields": Codec(decode_fields, encode_fields),
}
"""For the formats whose entries are records; those of tables are in `tables`."""


def refuse_large(size: int, most: int) -> None:
    """Raise RecordError for a record of more bytes than `max_record` allows."""
    if size > most:
        raise RecordError(f"the record has {size:,} bytes, more than `max_record` allows")


def parse_id(text: bytes | str) -> tuple[int, int]:
    """An entry id as its two numbers, so that ids can be compared; a missing sequence is 0."""
    if isinstance(text, bytes):
        text = text.decode()
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)


def id_after(text: bytes | str) -> str:
    """The next id, as the server counts: both numbers have 64 bits; after the largest there is none but itself."""
    milliseconds, sequence = parse_id(text)
    if sequence < 2**64 - 1:
        return f"{milliseconds}-{sequence + 1}"
    return f"{milliseconds + 1}-0" if milliseconds < 2**64 - 1 else f"{milliseconds}-{sequence}"


def id_before(text: bytes | str) -> str:
    """The id just before one, for commands that start after the id that they are given."""
    milliseconds, sequence = parse_id(text)
    if sequence > 0:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{2**64 - 1}" if milliseconds > 0 else "0-0"
