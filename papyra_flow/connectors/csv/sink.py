"""`csv` as a sink: writing comma-separated files (RFC 4180) with a header."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from papyra_flow.connectors.base import ConnectorContext, Encode, OpenSink, SinkConfig
from papyra_flow.connectors.files.sink import FileSink
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.records.entries import Record
from papyra_flow.records.json_codec import text_form

MAX_HEADER = 1024 * 1024
"""Bytes that a file's header is looked for in."""


class CsvSink(SinkConfig):
    """Write records as rows of a CSV file."""

    name: ClassVar[str] = "csv"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the file is cut back to its checkpoint, which moves with the acks"

    path: str = Field(min_length=1, description="The file; `.gz` is compressed.")
    columns: list[str] | None = Field(None, min_length=1, description="The columns (the fields of the first record).")
    delimiter: str = Field(",", min_length=1, max_length=1, pattern=r'^[^"\r\n]$', description="The column separator.")
    fsync: bool = Field(True, description="Flush each batch to disk (fsync) before acknowledging it.")
    overwrite: bool = Field(False, description="Empty the file when the stage has no checkpoint yet.")

    def files(self) -> tuple[str, ...]:
        """The file."""
        return (self.path,)

    def open(self, context: ConnectorContext) -> OpenSink:
        """The sink."""
        table = _Table(self)
        return FileSink(
            context, self.path, table.encode,
            fsync=self.fsync, overwrite=self.overwrite, head=table.head, adopt=table.adopt,
        )  # fmt: skip

    def encoder(self, context: ConnectorContext) -> Encode:
        """Rows of a file that is not there yet."""
        return _Table(self).encode


class _Table:
    """The columns of the file, and rows for it."""

    def __init__(self, config: CsvSink) -> None:
        self._config = config
        self._columns: list[str] = list(config.columns or [])
        self._untried = False
        """Whether the columns are those of a file that others wrote, and no record has been seen to fit them."""

    def encode(self, record: Record, _raw: bytes | None) -> bytes:
        """A row; null and fields that are missing are empty."""
        columns = self._columns or list(record)
        if not columns:
            raise RecordError(f"the record has no fields to be the columns of {self._config.path}")
        if extra := record.keys() - set(columns):
            if self._untried:
                raise ConnectorError(
                    f"{self._config.path} has the columns {', '.join(self._columns)}; "
                    f"the first record has {', '.join(record)}: write it to another file"
                )
            raise RecordError(f"the file {self._config.path} has no column {sorted(extra)[0]!r}")
        row = self._line([text_form(record.get(column), column) for column in columns])
        if not self._columns:
            self._line(list(columns))
            self._columns = columns
        self._untried = False
        return row

    def head(self) -> bytes:
        """The header."""
        return self._line(list(self._columns))

    def adopt(self, path: Path, ours: bool) -> None:
        """What is appended has to stand under the header that is there, whatever the next record's order."""
        there = self._header_of(path)
        if self._columns and there != self._columns:
            raise ConnectorError(f"{path} has the columns {', '.join(there)}, not {', '.join(self._columns)}")
        self._untried = not ours and not self._columns
        self._columns = there

    def _header_of(self, path: Path) -> list[str]:
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                text = file.read(MAX_HEADER).decode("utf-8-sig", errors="surrogateescape")
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=self._config.delimiter), [])
            ["".join(header).encode()]
        except (csv.Error, UnicodeEncodeError, EOFError, zlib.error) as exc:
            raise ConnectorError(f"the header of {path} cannot be read: {exc}") from exc
        if not header:
            raise ConnectorError(f"{path} does not begin with a header")
        return header

    def _line(self, values: list[object]) -> bytes:
        text = io.StringIO()
        try:
            # With both in the line's end, the writer quotes values that have either.
            csv.writer(text, delimiter=self._config.delimiter, lineterminator="\r\n").writerow(values)
            return text.getvalue()[:-2].encode() + b"\n"
        except (csv.Error, UnicodeEncodeError, ValueError) as exc:
            raise RecordError(f"the record cannot be written as CSV: {exc}") from exc
