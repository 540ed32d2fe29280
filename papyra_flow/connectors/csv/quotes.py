"""A row of CSV read with care, line by line: where it ends, and what is wrong with it.

The csv module reads what is well-formed, and faster. It cannot say where a row ends that is not, takes no field of more
than 128 KiB unless told so for the whole process, and reads up to the end of the file for a quote that is never closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

Delimiter: TypeAlias = Annotated[
    str, BeforeValidator(lambda said: "\t" if said == "\\t" else said), Field(min_length=1, max_length=1)
]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What separates columns, and what quotes them, if anything does."""

    delimiter: str = ","
    quote: str | None = '"'


class RowScan:
    """A row that lines are added to; it continues with the next line while it is `inside` quotes."""

    def __init__(self, dialect: Dialect) -> None:
        self.fields: list[str] = []
        self.lines = 0
        self.inside = False
        self.opened = (0, 0)
        """Which of the row's lines has the last opening quote, and in which column."""
        self.wrong: str | None = None
        """What is wrong with the quotes; the first, if there is more than one thing."""
        self.crossed = False
        """Whether text follows a closing quote whose opening one is on a line before: it may not be its own."""
        self.stray = False
        """Whether there is a quote in a field without quotes, which is a character like any other."""
        self._delimiter, self._quote = dialect.delimiter, dialect.quote
        self._pieces: list[str] = []

    def add(self, line: str) -> None:
        """Add the next line, with its end."""
        self.lines += 1
        end = len(line.rstrip("\r\n"))
        at = 0
        if not self.inside and not end:
            return  # a blank line is a row without fields
        while True:
            if not self.inside:
                if self._quote is None or not line.startswith(self._quote, at):
                    at = self._plain(line, at, end)
                    if at > end:
                        return
                    continue
                self.inside = True
                self.opened = (self.lines, len(self.fields) + 1)
                at += 1
            at = self._quoted(line, at, end)
            if at > end:
                return

    def _plain(self, line: str, at: int, end: int) -> int:
        """Take a field without quotes, or what is left of one behind them; returns where the next one begins."""
        stop = line.find(self._delimiter, at, end)
        stop = end if stop < 0 else stop
        text = line[at:stop]
        if "\r" in text:
            self._refuse(f"there is a carriage return in the middle of column {len(self.fields) + 1}")
        self.stray = self.stray or (self._quote is not None and self._quote in text)
        self._pieces.append(text)
        self._finish()
        return stop + 1

    def _quoted(self, line: str, at: int, end: int) -> int:
        """Take text up to the closing quote, or to the end of the line; returns where the next field begins."""
        quote = self._quote or ""
        while True:
            stop = line.find(quote, at)
            if stop < 0:
                self._pieces.append(line[at:])
                return end + 1
            self._pieces.append(line[at:stop])
            at = stop + 1
            if not line.startswith(quote, at):
                break
            self._pieces.append(quote)
            at += 1
        self.inside = False
        if at < end and not line.startswith(self._delimiter, at):
            self.crossed = self.opened[0] < self.lines
            self._refuse(f"text follows the closing quote of column {len(self.fields) + 1}")
            return end + 1 if self.crossed else self._plain(line, at, end)
        self._finish()
        return at + 1

    def _finish(self) -> None:
        self.fields.append("".join(self._pieces))
        self._pieces = []

    def _refuse(self, what: str) -> None:
        if self.wrong is None:
            self.wrong = what
