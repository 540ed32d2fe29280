"""Records as state keeps them: as the text of their JSON.

A step behind may change a record that it gets, and what comes back from the server has the types of JSON only. As text
a record is what it was, wherever it has been, and takes a fifth of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.records.json_codec import read_json, write_json, write_records


def texts_of(records: Sequence[Record]) -> list[str | RecordError]:
    """Each record's text, or why it has none."""
    written = write_records(records)
    if written is None:
        return [_text(record) for record in records]
    return [data.decode() for data in written]


def record_of(text: str) -> Record:
    """A record of its own from its text."""
    record: Record = read_json(text)
    return record


def _text(record: Record) -> str | RecordError:
    try:
        return write_json(record).decode()
    except RecordError as exc:
        return exc
