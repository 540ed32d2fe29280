"""`csv`: reading and writing comma-separated files (RFC 4180) with a header.

Values are strings unless `types` says otherwise; `null_values` names the spellings that mean null. A row that
does not fit goes to the stage's dead letters, with its file and line.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

from pydantic import Field

from papyra_flow.connectors.base import (
    BadRecord,
    ConnectorContext,
    Sink,
    SinkConfig,
    Source,
    SourceConfig,
    SourceItem,
)
from papyra_flow.connectors.files import FileSink, FileSource, Lines
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.streams.entries import Record, Value, encode_json

ColumnType = Literal["str", "int", "float", "bool"]
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError(text) from None


_CONVERT: dict[str, Callable[[str], Value]] = {"int": int, "float": _number, "bool": _boolean}


class CsvSource(SourceConfig):
    """Read CSV files with a header: one record a row."""

    name: ClassVar[str] = "csv"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    path: str = Field(min_length=1, description="The file, or a glob of files; `.gz` is decompressed.")
    types: dict[str, ColumnType] = Field({}, description="Types of columns; all others are strings.")
    null_values: list[str] = Field([], description="Spellings that mean null.")
    header: list[str] | None = Field(None, description="The columns' names, for files without a header row.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="What separates columns.")
    encoding: str = Field("utf-8", description="The files' character encoding.")

    def open(self, context: ConnectorContext) -> Source:
        """The source."""
        return FileSource(self.path, context.folder, *_Rows(self).hooks())


class _Rows:
    """Turns a file's lines into items; knows the current file's columns."""

    def __init__(self, config: CsvSource) -> None:
        self._config = config
        self._columns: list[str] = []

    def hooks(self) -> tuple[Callable[[Lines, bool], Iterator[SourceItem]], Callable[[Lines], None]]:
        return self.items, self.read_header

    def read_header(self, lines: Lines) -> None:
        config = self._config
        self._columns = config.header or next(self._reader(lines), [])
        if self._columns and self._columns[0].startswith("\ufeff"):
            self._columns[0] = self._columns[0].removeprefix("\ufeff")
        if len(set(self._columns)) != len(self._columns):
            raise ConnectorError(f"{lines.name} has two columns of the same name")
        if unknown := sorted(config.types.keys() - set(self._columns)):
            raise ConnectorError(
                f"{lines.name} has no column {unknown[0]!r}, which `types` names; it has {', '.join(self._columns)}"
            )

    def items(self, lines: Lines, resumed: bool) -> Iterator[SourceItem]:
        if not resumed:
            self.read_header(lines)
        columns, nulls = self._columns, frozenset(self._config.null_values)
        converters = [_CONVERT.get(self._config.types.get(column, "str")) for column in columns]
        typed = [(place, convert) for place, convert in enumerate(converters) if convert is not None]
        rows = self._reader(lines)
        while True:
            line = lines.number + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as exc:
                yield BadRecord(b"", f"the row cannot be read: {exc}", lines.name, str(line))
                rows = self._reader(lines)
                continue
            if not row:
                continue
            if len(row) != len(columns):
                error = f"the row has {len(row)} columns, the header {len(columns)}"
                yield BadRecord(encode_json({"row": row}), error, lines.name, str(line))
                continue
            values: list[Value] = [None if text in nulls else text for text in row] if nulls else list(row)
            try:
                for place, convert in typed:
                    if values[place] is not None:
                        values[place] = convert(row[place])
            except ValueError:
                error = f"{row[place]!r} in column {columns[place]!r} is no {self._config.types[columns[place]]}"
                yield BadRecord(encode_json(dict(zip(columns, row, strict=True))), error, lines.name, str(line))
                continue
            yield encode_json(dict(zip(columns, values, strict=True)))

    def _reader(self, lines: Lines) -> Iterator[list[str]]:
        encoding = self._config.encoding
        return csv.reader((line.decode(encoding) for line in lines), delimiter=self._config.delimiter)


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
            return line([_cell(record.get(column)) for column in columns])

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


def _cell(value: object) -> object:
    return encode_json({"v": value})[5:-1].decode() if isinstance(value, dict | list | bool) else value
