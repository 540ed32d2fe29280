"""`csv` as a source: reading comma-separated files (RFC 4180) with a header.

Values are strings unless `types` says otherwise; `null_values` names the spellings that mean null. A row that
does not fit goes to the stage's dead letters, with its file and line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

from pydantic import Field

from papyra_flow.connectors.base import BadRecord, ConnectorContext, Source, SourceItem
from papyra_flow.connectors.file_source import FileSource, FileSourceConfig
from papyra_flow.connectors.lines import Lines
from papyra_flow.errors import ConnectorError
from papyra_flow.streams.entries import Value, encode_json

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


class CsvSource(FileSourceConfig):
    """Read CSV files with a header: one record a row."""

    name: ClassVar[str] = "csv"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    types: dict[str, ColumnType] = Field({}, description="Types of columns; all others are strings.")
    null_values: list[str] = Field([], description="Spellings that mean null.")
    header: list[str] | None = Field(None, description="The columns' names, for files without a header row.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="What separates columns.")
    encoding: str = Field("utf-8", description="The files' character encoding.")

    def open(self, context: ConnectorContext) -> Source:
        """The source."""
        return FileSource(self.path, context.folder, *_Rows(self).hooks(), follow=self.follow)


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
            lines.begin()
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
