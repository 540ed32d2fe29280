"""Tables: entries in the format `arrow`, whose field `data` holds an Arrow table.

The bytes are an IPC stream (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format): a schema and
record batches. pyarrow comes with `papyra-flow[arrow]`, so this file is imported only when a pipeline has
tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from papyra_flow.errors import RecordError, UndecodableError
from papyra_flow.records.columns import column_of, usual_type
from papyra_flow.records.entries import DATA, Record, value_of
from papyra_flow.records.table_rows import records_of


def decode_table(fields: Sequence[bytes]) -> pa.Table:
    """The table of an entry's flat fields; raises UndecodableError."""
    data = value_of(fields)
    if data is None:
        raise UndecodableError("the entry has no field `data`, which would hold a table")
    try:
        with pa.ipc.open_stream(data) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as exc:
        raise UndecodableError(f"`data` is not an Arrow IPC stream: {exc}") from exc


def encode_table(table: pa.Table) -> bytes:
    """A table as an IPC stream; of a slice only its own rows are written."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def encoded_parts(table: pa.Table, most: int) -> Iterator[bytes]:
    """A table as one IPC stream or more, none of them of more than `most` bytes; RecordError if a row is larger."""
    encoded = encode_table(table)
    if len(encoded) <= most:
        yield encoded
        return
    if table.num_rows < 2:
        raise RecordError(f"a row has become {len(encoded):,} bytes, more than `max_record` allows")
    half = table.num_rows // 2
    yield from encoded_parts(table.slice(0, half), most)
    yield from encoded_parts(table.slice(half), most)


def records_in(data: bytes) -> list[Record] | None:
    """The rows of a table's bytes, None if they are not a table: for showing any entry."""
    try:
        return records_of(decode_table((DATA, data)))
    except RecordError:
        return None


def table_entry(table: pa.Table, headers: Mapping[bytes, bytes]) -> list[bytes]:
    """An entry's flat fields."""
    fields = [DATA, encode_table(table)]
    for name, value in headers.items():
        fields += (name, value)
    return fields


def table_of(records: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Records as a table, a column for every field that one of them has; raises RecordError if some do not fit.

    A column is of the type that `types` says, text being read as what the type stands for; else of the one type that
    all its values have, where integers among floats are floats if they are the same number.
    """
    types = types or {}
    return pa.table({
        name: column_of(name, [record.get(name) for record in records], types.get(name))
        for name in _names(records, types)
    })  # fmt: skip


def usual_types(records: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The type of each column as `types` says it, else the one that most of its values have."""
    found = dict(types)
    for name in _names(records, types):
        if name not in found:
            found[name] = usual_type([record.get(name) for record in records])
    return found


def _names(records: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> dict[str, None]:
    names: dict[str, None] = dict.fromkeys(types)
    for record in records:
        if not names.keys() >= record.keys():
            names |= dict.fromkeys(record)
    return names
