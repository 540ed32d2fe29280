"""The lines of a file, with how far it was read."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import TypeAlias

from papyra_flow.connectors.base import SourceItem
from papyra_flow.connectors.files.line_splitter import AnyLine, LineSplitter, LongLine
from papyra_flow.connectors.files.text_form import TextForm, detect
from papyra_flow.errors import ConnectorError
from papyra_flow.spec import defaults

BLOCK = 64 * 1024
LINE_END = 8
"""Bytes that a line end may have: two characters of UTF-32."""


class LongLineError(ConnectorError):
    """A line is longer than a record may be; it was read, and the next one can be. Never seen by users."""

    def __init__(self, line: LongLine) -> None:
        super().__init__(f"a line of {line.length:,} bytes")
        self.line = line


class LongItemError(ConnectorError):
    """What is being read exceeds the bytes of a record, and continues. Never seen by users."""


class Lines:
    """The lines of an open file; `offset` and `number` say how far it was read, in bytes and lines.

    Callers that make items of them call `begin` before each, to mark where an item began: `back` goes there
    again. Before the first line, `read_as` is called at the beginning of a file, and `go_on_as` in its middle.
    """

    def __init__(self, file: BufferedReader | gzip.GzipFile, name: str, number: int = 0) -> None:
        self._file = file
        self.name = name
        self.unfinished: tuple[int, int] | None = None
        """Where the item began that the file's end cut off (offset, lines before it): the file may be written still."""
        self.form = TextForm()
        self.most = defaults.MAX_RECORD
        self.next = 0
        self.began = 0
        """Which of the lines that are held is given out next, and which one the item began with."""
        self._held: list[AnyLine] = []
        self._held_from = (file.tell(), number)
        self._passed = (0, 0)  # some of the lines held, and their bytes, so that no line is counted again and again
        self._sized = (0, 0, 0)  # an item, up to where it was counted, and its bytes so far
        self._splitter = LineSplitter(self.form, self.most)
        self._whole = False
        self._rest: AnyLine | None = None
        self._in_rest: tuple[int, int] | None = None
        self._is_cut_off = False

    def read_as(self, encoding: str, most: int, quote: str | None = None) -> TextForm:
        """Find out how the file's text is written, and pass its byte order mark; `most` bytes are a line's limit.

        Line ends within quotes say nothing of it.
        """
        head, whole = b"", False
        while (form := detect(head, encoding, quote, whole=whole)) is None:
            block = self._file.read1(BLOCK)
            head, whole = head + block, not block
        self.go_on_as(form, most)
        self._held_from = (self._held_from[0] + form.mark, self._held_from[1])
        self._held = self._splitter.feed(head[form.mark :])
        return form

    def go_on_as(self, form: TextForm, most: int) -> None:
        """Read on in a file whose form is known."""
        self.form, self.most = form, most
        self._splitter = LineSplitter(form, most)

    def begin(self) -> None:
        """The next line begins an item."""
        self.began = self.next
        if self.unfinished is not None:
            self.unfinished, self._is_cut_off = self._in_rest, False

    def cut_off(self) -> None:
        """The file's end cuts the item off, though its last line has an end: so it is until the next item begins."""
        self.unfinished, self._is_cut_off = self._beginning(), True

    @property
    def offset(self) -> int:
        """How many bytes were read."""
        return self._held_from[0] + self._bytes_before(self.next)

    @property
    def number(self) -> int:
        """How many lines were read."""
        return self._held_from[1] + self.next

    @property
    def place(self) -> int:
        """The number of the line with which the item began."""
        return self._held_from[1] + self.began + 1

    @property
    def size(self) -> int:
        """How many bytes the item has so far."""
        began, counted, size = self._sized
        if began != self.began or counted > self.next:
            counted, size = self.began, 0
        size += sum(map(len, self._held[counted : self.next]))
        self._sized = (self.began, self.next, size)
        return size

    @property
    def raw(self) -> bytes:
        """The item so far, without its line end; in UTF-8 if it is text."""
        taken = self._held[self.began : self.next]
        data = b"".join(line.head if isinstance(line, LongLine) else line for line in taken)
        return self.form.as_utf8(self.form.content(data))

    def back(self) -> None:
        """Go back to where the item began."""
        if self._in_rest is not None and self.next > self.began:
            self._rest, self._in_rest = self._held.pop(), None
            self.unfinished = self.unfinished if self._is_cut_off else None
        self.next = self.began

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            line = self._held[self.next]
        except IndexError:
            line = self._more()
        self.next += 1
        if type(line) is LongLine:
            raise LongLineError(line)
        return line

    def _more(self) -> AnyLine:
        """Read on until there is a line; raises StopIteration at the end."""
        if self.size > self.most + LINE_END:
            raise LongItemError
        self._forget()
        while self.next == len(self._held) and not self._whole:
            if block := self._file.read1(BLOCK):
                self._held += self._splitter.feed(block)
            else:
                self._whole, self._rest = True, self._splitter.rest()
        if self.next < len(self._held):
            return self._held[self.next]
        if self._rest is None:
            raise StopIteration
        self._in_rest = self.unfinished = self._beginning()
        self._held.append(self._rest)
        self._rest = None
        return self._held[self.next]

    def _forget(self) -> None:
        """Let go of the lines before the item."""
        if self.began:
            self._held_from, size = self._beginning(), self.size
            del self._held[: self.began]
            self.next -= self.began
            self.began = 0
            self._passed, self._sized = (self.next, size), (0, self.next, size)

    def _beginning(self) -> tuple[int, int]:
        return self._held_from[0] + self._bytes_before(self.began), self._held_from[1] + self.began

    def _bytes_before(self, index: int) -> int:
        """The bytes of the lines held before this one."""
        lines, size = self._passed
        if index < lines:
            lines, size = 0, 0
        size += sum(map(len, self._held[lines:index]))
        self._passed = (index, size)
        return size


Parser: TypeAlias = Callable[[Lines, bool], Iterator[SourceItem]]
"""Turns lines into items; the flag says that the lines start in the middle of the file."""
