"""The lines of a file, with how far it was read.

What does not live here: which file, and from where on (`file_source`); what a line means (`csv_source`,
`jsonl_source`); how bytes are split into lines (`line_splitter`).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import TypeAlias

from papyra_flow.connectors.base import SourceItem
from papyra_flow.connectors.line_splitter import AnyLine, LineSplitter, LongLine
from papyra_flow.connectors.text_form import TextForm, detect
from papyra_flow.errors import ConnectorError

BLOCK = 64 * 1024
USUAL_MOST = 8 * 1024**2
LINE_END = 8
"""Bytes that a line end may have: two characters of UTF-32."""


class LongLineError(ConnectorError):
    """A line is longer than a record may be; it was read, and the next one can be. Never seen by users."""

    def __init__(self, line: LongLine) -> None:
        super().__init__(f"a line of {line.length:,} bytes")
        self.line = line


class LongItemError(ConnectorError):
    """What is being read has more bytes than a record may have, and goes on. Never seen by users."""


class Lines:
    """The lines of an open file; `offset` and `number` say how far it was read, in bytes and lines.

    Whoever makes items of them calls `begin` before each, so that it is known where an item began: `back` goes there
    again. Before the first line, `read_as` is called at the beginning of a file, and `go_on_as` in its middle.
    """

    def __init__(self, file: BufferedReader | gzip.GzipFile, name: str, number: int = 0) -> None:
        self._file = file
        self.name = name
        self.offset = file.tell()
        self.number = number
        self.form = TextForm()
        self.most = USUAL_MOST
        self._splitter = LineSplitter(self.form, self.most)
        self._ready: list[AnyLine] = []  # the lines since `begin`, and those that are still to be given out
        self._began = 0
        self._began_at = self.offset
        self._next = 0
        self._whole = False
        self._rest: AnyLine | None = None
        self._in_rest: tuple[int, int] | None = None
        self._cut_off: tuple[int, int] | None = None

    def read_as(self, encoding: str, most: int, quote: str | None = None) -> TextForm:
        """Find out how the file's text is written, and pass its byte order mark; `most` bytes are a line's limit.

        Line ends within quotes say nothing of it.
        """
        head, whole = b"", False
        while (form := detect(head, encoding, quote, whole=whole)) is None:
            block = self._file.read1(BLOCK)
            head, whole = head + block, not block
        self.go_on_as(form, most)
        self.offset += form.mark
        self._ready = self._splitter.feed(head[form.mark :])
        return form

    def go_on_as(self, form: TextForm, most: int) -> None:
        """Read on in a file whose form is known."""
        self.form, self.most = form, most
        self._splitter = LineSplitter(form, most)

    def begin(self) -> None:
        """The next line begins an item."""
        self._began = self._next
        self._began_at = self.offset
        self._cut_off = None

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """Where the item began that the file's end cut off (offset, lines before it): the file may be written still."""
        return self._cut_off or self._in_rest

    def cut_off(self) -> None:
        """The file's end cuts the item off, though its last line has an end: so it is until the next item begins."""
        self._cut_off = (self._began_at, self.place - 1)

    @property
    def place(self) -> int:
        """The number of the line with which the item began."""
        return self.number - (self._next - self._began) + 1

    @property
    def size(self) -> int:
        """How many bytes the item has so far."""
        return self.offset - self._began_at

    @property
    def raw(self) -> bytes:
        """The item so far, without its line end; in UTF-8 if it is text."""
        taken = self._ready[self._began : self._next]
        data = b"".join(line.head if isinstance(line, LongLine) else line for line in taken)
        return self.form.as_utf8(self.form.content(data))

    def back(self) -> None:
        """Go back to where the item began."""
        if self._in_rest is not None and self._next > self._began:
            self._rest, self._in_rest = self._ready.pop(), None
        self.number -= self._next - self._began
        self.offset = self._began_at
        self._next = self._began

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            line = self._ready[self._next]
        except IndexError:
            line = self._more()
        self._next += 1
        self.offset += len(line)
        self.number += 1
        if type(line) is LongLine:
            raise LongLineError(line)
        return line

    def _more(self) -> AnyLine:
        """Read on until there is a line; raises StopIteration at the end."""
        if self.size > self.most + LINE_END:
            raise LongItemError
        del self._ready[: self._began]
        self._next -= self._began
        self._began = 0
        while self._next == len(self._ready) and not self._whole:
            if block := self._file.read1(BLOCK):
                self._ready += self._splitter.feed(block)
            else:
                self._whole, self._rest = True, self._splitter.rest()
        if self._next < len(self._ready):
            return self._ready[self._next]
        if self._rest is None:
            raise StopIteration
        self._in_rest = (self._began_at, self.place - 1)
        self._ready.append(self._rest)
        self._rest = None
        return self._ready[self._next]


Parser: TypeAlias = Callable[[Lines, bool], Iterator[SourceItem]]
"""Turns lines into items; the flag says that the lines start in the middle of the file."""
