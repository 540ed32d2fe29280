"""Entries as people are shown them: text where bytes are text, rows where they are a table.

Works where there is no pyarrow, too: a table is then bytes like any other.
"""

from __future__ import annotations

import orjson

from papyra_flow.streams.entries import TABLE_MAGIC, Record


def rows_in(data: bytes | None) -> list[Record] | None:
    """The rows of a table, None for anything else."""
    if data is None or not data.startswith(TABLE_MAGIC):
        return None
    try:
        from papyra_flow.streams.tables import records_in
    except ModuleNotFoundError:
        return None
    return records_in(data)


def text_of(value: bytes) -> str:
    """A field's value as text: a table as JSON, what is no UTF-8 with marks in its place."""
    rows = rows_in(value)
    return value.decode(errors="replace") if rows is None else orjson.dumps(rows, default=str).decode()
