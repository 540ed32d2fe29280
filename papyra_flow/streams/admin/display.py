"""Entries as people are shown them: text where bytes are text, rows where they are a table.

Works without pyarrow, too: a table is then bytes like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import TABLE_MAGIC, Record
from papyra_flow.records.json_codec import write_json
from papyra_flow.records.values import json_form


def rows_in(data: bytes | None) -> list[Record] | None:
    """The rows of a table, None for anything else."""
    if data is None or not data.startswith(TABLE_MAGIC):
        return None
    try:
        from papyra_flow.records.tables import records_in
    except ModuleNotFoundError:
        return None
    return records_in(data)


def text_of(value: bytes) -> str:
    """A field's value as text: a table as JSON, bytes that are not UTF-8 with marks in their place."""
    rows = rows_in(value)
    return value.decode(errors="replace") if rows is None else shown_json(rows).decode()


def shown_json(value: object) -> bytes:
    """A value as JSON, whatever is in it: what JSON cannot hold, such as a foreign table's NaN, is shown as text."""
    try:
        return write_json(value)
    except RecordError:
        return write_json(_shown(value))


def _shown(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _shown(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(inner) for inner in value]
    try:
        return json_form(value)
    except RecordError:
        return str(value).encode(errors="replace").decode()
