"""`csv` as a source: reading comma-separated files (RFC 4180) with a header.

Values are strings unless `types` says otherwise; `null_values` names the spellings that mean null. A row that
does not fit goes to the stage's dead letters, with its file and line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

from pydantic import Field, model_validator

from papyra_flow.connectors.base import BadRecord, ConnectorContext, OpenSource, SourceItem
from papyra_flow.connectors.csv.column_types import Columns, ColumnType
from papyra_flow.connectors.csv.quotes import Delimiter, Dialect
from papyra_flow.connectors.csv.rows import BadRow, CsvRows, read_header, refuse_names
from papyra_flow.connectors.files.lines import Lines
from papyra_flow.connectors.files.source import FileSource, FileSourceConfig
from papyra_flow.connectors.files.text_form import ENCODING, Encoding, TextForm
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.records.entries import encode_json


class CsvSource(FileSourceConfig):
    """Read CSV files with a header: one record a row."""

    name: ClassVar[str] = "csv"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    types: dict[str, ColumnType] = Field({}, description="Types of columns; all others are strings.")
    null_values: list[str] = Field([], description="Spellings that mean null.")
    header: list[str] | None = Field(None, min_length=1, description="Column names, for files without a header row.")
    delimiter: Delimiter = Field(",", description="The column separator; `\\t` for tabs.")
    quote: str | None = Field(
        '"', min_length=1, max_length=1, description="The quote character, doubled within fields; null for none."
    )
    encoding: Encoding = Field("utf-8", description=ENCODING)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.delimiter in {"\r", "\n", self.quote} or self.quote in {"\r", "\n"}:
            raise ValueError("`delimiter` and `quote` must differ, and cannot be line ends")
        if self.header is not None:
            try:
                refuse_names(self.header, "`header`")
                refuse_unknown(self.types, self.header, "`header`")
            except ConnectorError as exc:
                raise ValueError(str(exc)) from None
        return self

    def open(self, context: ConnectorContext) -> OpenSource:
        """The source."""
        parser = CsvParser(self, context.max_record)
        return FileSource(self.path, context.folder, parser.items, parser.read_head, follow=self.follow)


def refuse_unknown(types: dict[str, ColumnType], columns: list[str], where: str) -> None:
    """Raise ConnectorError for types of columns that are not there."""
    if unknown := sorted(types.keys() - set(columns)):
        raise ConnectorError(f"{where} has no column {unknown[0]!r}, which `types` names; it has {', '.join(columns)}")


class CsvParser:
    """Turns a file's lines into items; knows the current file's form and columns."""

    def __init__(self, config: CsvSource, most: int) -> None:
        self._config = config
        self._dialect = Dialect(config.delimiter, config.quote)
        self._most = most
        self._form = TextForm()
        self._columns: list[str] = []

    def read_head(self, lines: Lines) -> None:
        """Read what the file's beginning says of all of it."""
        config = self._config
        self._form = lines.read_as(config.encoding, self._most, config.quote)
        if config.header is not None:
            self._columns = config.header
        elif columns := read_header(lines, self._dialect):
            refuse_unknown(config.types, columns, lines.name)
            self._columns = columns
        else:
            self._columns = []

    def items(self, lines: Lines, resumed: bool) -> Iterator[SourceItem]:
        """The file's rows as records."""
        if resumed:
            lines.go_on_as(self._form, self._most)
        else:
            self.read_head(lines)
        names = self._columns
        columns = Columns(names, self._config.types, self._config.null_values)
        for row in CsvRows(lines, self._dialect, len(names)).rows():
            if isinstance(row, BadRow):
                yield BadRecord(row.raw, row.error, lines.name, str(row.line))
                continue
            try:
                yield encode_json(dict(zip(names, columns.values(row), strict=True)))
            except RecordError as exc:
                yield BadRecord(lines.raw, str(exc), lines.name, str(lines.place))
