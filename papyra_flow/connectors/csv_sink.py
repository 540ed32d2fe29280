"""`csv` as a sink: writing comma-separated files (RFC 4180) with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from papyra_flow.connectors.base import ConnectorContext, Sink, SinkConfig
from papyra_flow.connectors.file_sink import FileSink
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.streams.entries import Record
from papyra_flow.streams.json_codec import text_form


class CsvSink(SinkConfig):
    """Write records as rows of a CSV file."""

    name: ClassVar[str] = "csv"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the file is cut back to its checkpoint, which moves with the acks"

    path: str = Field(min_length=1, description="The file; `.gz` is compressed.")
    columns: list[str] | None = Field(None, min_length=1, description="The columns (the fields of the first record).")
    delimiter: str = Field(",", min_length=1, max_length=1, description="What separates columns.")
    fsync: bool = Field(True, description="Wait until the disk has a batch before it is acknowledged.")
    overwrite: bool = Field(False, description="Empty the file when the stage has no checkpoint yet.")

    def open(self, context: ConnectorContext) -> Sink:
        """The sink."""
        columns: list[str] = list(self.columns or [])

        def line(values: list[object]) -> bytes:
            text = io.StringIO()
            csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerow(values)
            return text.getvalue().encode()

        def encode(record: Record, _raw: bytes | None) -> bytes:
            if not columns:
                columns.extend(record)
            if extra := record.keys() - set(columns):
                raise RecordError(f"the file {self.path} has no column {sorted(extra)[0]!r}")
            return line([text_form(record.get(column), column) for column in columns])

        def head() -> bytes:
            return line(list(columns))

        def adopt(lines: Iterator[bytes]) -> None:
            # What is appended has to stand under the header that is there, whatever the next record's order.
            there = next(csv.reader((text.decode() for text in lines), delimiter=self.delimiter), [])
            if self.columns is not None and there != self.columns:
                raise ConnectorError(f"{self.path} has the columns {', '.join(there)}, not {', '.join(self.columns)}")
            columns[:] = there

        path = context.folder / self.path
        return FileSink(path, encode, fsync=self.fsync, overwrite=self.overwrite, head=head, adopt=adopt)
