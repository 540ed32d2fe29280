"""Tables of a `lookup` that are files: CSV or JSON lines, read whole, by the same readers that sources have.

A table that is not what it should be in one row would be wrong for all records that ask for it, so it is refused, with
the file and the line.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from papyra_flow.connectors.base import BadRecord
from papyra_flow.connectors.csv.column_types import Columns, ColumnType
from papyra_flow.connectors.csv.quotes import Dialect
from papyra_flow.connectors.csv.rows import BadRow, CsvRows, read_header
from papyra_flow.connectors.files.lines import Lines
from papyra_flow.connectors.jsonl.source import JsonlParser
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.records.entries import DATA, Record, Value, decode_json
from papyra_flow.spec import defaults

Duplicates: TypeAlias = Literal["error", "first", "last"]


@dataclass(frozen=True, slots=True)
class FileTable:
    """Where a table is, how its file is written, and which column is the key."""

    path: Path
    kind: Literal["csv", "jsonl"]
    key: str
    fields: Sequence[str] | None
    types: Mapping[str, ColumnType]
    delimiter: str
    encoding: str
    duplicates: Duplicates

    def load(self) -> dict[Value, Record]:
        """The rows by their keys; raises ConnectorError with the file and line of what is wrong."""
        name = self.path.name
        try:
            with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as file:
                lines = Lines(file, name)
                rows = self._csv_rows(lines) if self.kind == "csv" else self._json_rows(lines)
                return self._by_key(rows)
        except (OSError, EOFError, zlib.error) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise ConnectorError(f"lookup: cannot read {name}: {reason}") from exc

    def _by_key(self, rows: Iterator[tuple[int, Record]]) -> dict[Value, Record]:
        table: dict[Value, Record] = {}
        found_in: dict[Value, int] = {}
        for line, row in rows:
            try:
                key = row[self.key]
                twice = key in table
            except KeyError:
                raise self._error(line, f"the row has no field {self.key!r}, the key") from None
            except TypeError:
                raise self._error(line, f"the key is a {type(row[self.key]).__name__}") from None
            if twice and self.duplicates == "error":
                hint = "choose a row with `duplicates: first` or `last`"
                raise self._error(line, f"the key {key!r} is also in line {found_in[key]}; {hint}")
            if not (twice and self.duplicates == "first"):
                table[key] = row if self.fields is None else {name: row.get(name) for name in self.fields}
                found_in[key] = line
        return table

    def _csv_rows(self, lines: Lines) -> Iterator[tuple[int, Record]]:
        dialect = Dialect(self.delimiter)
        lines.read_as(self.encoding, defaults.MAX_RECORD, dialect.quote)
        try:
            names = read_header(lines, dialect)
        except ConnectorError as exc:
            raise ConnectorError(f"lookup: {exc}") from None
        for name, option in [(self.key, "key"), *((name, "fields") for name in self.fields or ()), *self._typed()]:
            if name not in names:
                has = f"it has {', '.join(names)}" if names else "it is empty"
                raise ConnectorError(f"lookup: {lines.name} has no column {name!r}, which `{option}` names; {has}")
        columns = Columns(names, self.types, empty_is_null=True)
        for row in CsvRows(lines, dialect, len(names)).rows():
            if isinstance(row, BadRow):
                raise self._error(row.line, row.error)
            try:
                yield lines.place, dict(zip(names, columns.values(row), strict=True))  # type: ignore[arg-type]
            except RecordError as exc:
                raise self._error(lines.place, str(exc)) from None

    def _json_rows(self, lines: Lines) -> Iterator[tuple[int, Record]]:
        seen: set[str] = set()
        for item in JsonlParser(self.encoding, defaults.MAX_RECORD).items(lines, False):
            if isinstance(item, BadRecord):
                raise self._error(int(item.place), item.error)
            row = decode_json((DATA, item))
            seen |= row.keys()
            yield lines.number, row
        for name in self.fields or ():
            if name not in seen:
                raise ConnectorError(f"lookup: no row of {lines.name} has the field {name!r}, which `fields` names")

    def _typed(self) -> Iterator[tuple[str, str]]:
        return ((name, "types") for name in self.types)

    def _error(self, line: int, what: str) -> ConnectorError:
        return ConnectorError(f"lookup: {self.path.name}, line {line}: {what}")
