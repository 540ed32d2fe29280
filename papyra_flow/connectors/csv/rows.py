"""The rows of a CSV file (RFC 4180): those that are good, and those that are bad, each alone.

The csv module reads rows as long as it can; `_with_care` takes over where it cannot. A quote that is never closed takes
the rows after it in, so how far a bad row reaches has rules:

- one that is well-formed but for its bytes, its number of columns, or text behind a closing quote: to its end;
- one whose last quote is open at the end of the file or of `max_record`, or closed on a later line with text behind
  it: to the end of the line on which that quote is opened;
- either of them only to the end of its first line, if the lines that it would take in are good rows themselves.

All of that is decided by what is behind the row's beginning, so that starting there again decides the same. No
line is tried more than a few times, as what is taken in is either good or passed over.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from papyra_flow.connectors.csv.quotes import Dialect, RowScan
from papyra_flow.connectors.files.lines import Lines, LongItemError, LongLineError
from papyra_flow.connectors.files.text_form import told
from papyra_flow.errors import ConnectorError

_log = logging.getLogger("papyra_flow.source")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read: its bytes, what is wrong with it, and the line with which it begins."""

    raw: bytes
    error: str
    line: int


AnyRow: TypeAlias = list[str] | BadRow


def read_header(lines: Lines, dialect: Dialect) -> list[str]:
    """The names of the columns, from the first line that is not blank; none without such a line.

    A column without a name, as pandas writes for its index, is named by its number, with a warning. Raises
    ConnectorError if they cannot be the names of columns.
    """
    while True:
        row = next(CsvRows(lines, dialect, None).rows(), None)
        if row is None:
            return []
        if isinstance(row, BadRow):
            raise ConnectorError(f"{lines.name}, line {row.line}: the header cannot be read: {row.error}")
        if any(text.strip() for text in row) or len(row) > 1:
            break
    where = f"{lines.name}, line {lines.place}: the header"
    if any("\0" in text for text in row):
        raise ConnectorError(f"{where} contains NUL bytes; if the file is UTF-16, set `encoding: utf-16`")
    if not any(text.strip() for text in row):
        raise ConnectorError(f"{where} has no name for any column")
    names = [text if text.strip() else f"column_{number}" for number, text in enumerate(row, start=1)]
    refuse_names(names, where)
    if added := [name for name, text in zip(names, row, strict=True) if name != text]:
        _log.warning("%s has no name for %d of its columns: called %s", where, len(added), ", ".join(added[:5]))
    return names


def refuse_names(columns: list[str], where: str) -> None:
    """Raise ConnectorError for names of which one is empty, or twice there."""
    for number, name in enumerate(columns, start=1):
        if not name.strip():
            raise ConnectorError(f"{where} has no name for column {number}")
        if name in columns[: number - 1]:
            raise ConnectorError(
                f"{where} has the name {name!r} twice, in columns {columns.index(name) + 1} and {number}"
            )


class CsvRows:
    """Reads the rows of `lines`, which all have `width` columns, or any number of them."""

    def __init__(self, lines: Lines, dialect: Dialect, width: int | None) -> None:
        self._lines = lines
        self._dialect = dialect
        self._width = width

    def rows(self) -> Iterator[AnyRow]:
        """The rows in order, blank lines left out."""
        while (yield from self._at_speed()):
            yield from self._with_care()

    def _at_speed(self) -> Generator[AnyRow, None, bool]:
        """Rows as the csv module reads them, up to one that needs care; returns whether there is one."""
        lines, width = self._lines, self._width
        reader = self._reader()
        while True:
            lines.begin()
            try:
                row = next(reader)
            except StopIteration:
                return False
            except (csv.Error, UnicodeError, LongLineError, LongItemError):
                return True
            fits = len(row) == width or width is None
            if lines.next - lines.began > 1 and not (fits and lines.size <= lines.most):
                return True
            if fits:
                yield row
            elif row:
                yield self._bad(self._wrong_width(row))

    def _reader(self) -> Iterator[list[str]]:
        lines, codec, dialect = self._lines, self._lines.form.codec, self._dialect
        texts = map(bytes.decode, lines) if codec == "utf-8" else (line.decode(codec) for line in lines)
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE
        return csv.reader(texts, delimiter=dialect.delimiter, quotechar=dialect.quote, quoting=quoting, strict=True)

    def _with_care(self) -> Iterator[AnyRow]:
        """Rows up to where the csv module came, so that it does not read the same lines again and again."""
        lines = self._lines
        until = lines.number
        lines.back()
        while lines.number < until:
            lines.begin()
            row = self._careful_row()
            if row:
                yield row

    def _careful_row(self) -> AnyRow | None:
        """The next row; None for a blank line."""
        begin, found = self._lines.number, self._scan()
        scan, fields = found.scan, found.scan.fields
        if found.too_long:
            return self._bad(found.too_long)
        if found.open:
            line, column = scan.opened
            self._take(1 if self._are_rows(begin + line) else line)
            return self._bad(f"the quote opened in column {column} {found.open}")
        fits = not fields or self._width is None or len(fields) == self._width
        if not fits and scan.lines > 1:
            if self._are_rows(begin + scan.lines):
                self._take(1)
                return self._bad("a quote is not closed on its line, and swallows the rows after it")
            self._take(scan.lines)
        if error := scan.wrong or found.damage or (None if fits else self._wrong_width(fields)):
            return self._bad(error)
        return fields or None

    def _scan(self) -> _Scanned:
        """The row that begins with the next line, as far as its quotes go."""
        lines = self._lines
        found = _Scanned(RowScan(self._dialect))
        scan = found.scan
        while True:
            try:
                line = next(lines)
            except LongLineError as exc:
                found.too_long = None if scan.lines else exc.line.told(lines.most)
                found.open = f"is not closed before line {lines.number}, which is longer than `max_record`"
                return found
            except StopIteration:
                lines.cut_off()
                found.open = "is never closed"
                return found
            before = lines.size - len(line)
            if before and before + len(lines.form.content(line)) > lines.most:
                found.open = f"is not closed within the {lines.most:,} bytes of `max_record`"
                return found
            scan.add(found.decoded(line, lines))
            if scan.crossed:
                found.open = f"is not closed before line {lines.number}, where text follows a closing quote"
            if found.open or not scan.inside:
                return found

    def _are_rows(self, end: int) -> bool:
        """Whether the item's lines after its first, up to line `end`, are good rows themselves; moves on or back."""
        lines = self._lines
        self._take(1)
        good = True
        while good and lines.number < end:
            found = self._scan()
            good = not (found.open or found.too_long or found.scan.wrong or found.scan.stray)
            good = good and len(found.scan.fields) in (0, self._width)
        return good

    def _take(self, count: int) -> None:
        """Go to behind the item's first lines."""
        self._lines.back()
        for _ in range(count):
            next(self._lines)

    def _bad(self, error: str) -> BadRow:
        return BadRow(self._lines.raw, error, self._lines.place)

    def _wrong_width(self, row: list[str]) -> str:
        return f"the row has {len(row)} columns, the header {self._width}"


@dataclass(slots=True)
class _Scanned:
    """A row that was scanned: its fields and quotes, and why it is none, if it has no end or cannot be decoded."""

    scan: RowScan
    open: str | None = None
    too_long: str | None = None
    damage: str | None = None

    def decoded(self, line: bytes, lines: Lines) -> str:
        """A line's text; what cannot be decoded is replaced, and told."""
        try:
            return lines.form.decode(line)
        except UnicodeError as exc:
            self.damage = self.damage or f"line {lines.number} is not {lines.form.codec}: {told(exc)}"
            return line.decode(lines.form.codec, "replace")
