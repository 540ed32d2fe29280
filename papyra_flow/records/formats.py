"""Records as the entries of a stream, whatever its format: `json` and `fields` one each, `arrow` all in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from papyra_flow.records.entries import CODECS, Format


def entries_of_records(records: Sequence[Mapping[str, object]], form: Format) -> list[list[bytes]]:
    """Records as entries' flat fields; raises RecordError for values that the format does not have."""
    if form != "arrow":
        return [CODECS[form].encode(record) for record in records]
    from papyra_flow.records.tables import table_entry, table_of  # only where there are tables: it needs pyarrow

    return [table_entry(table_of(records), {})] if records else []
