"""The lines of a file, with how far it was read.

What does not live here: which file, and from where on (`file_source`); what a line means (`csv_source`,
`jsonl_source`).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import TypeAlias

from papyra_flow.connectors.base import SourceItem
from papyra_flow.errors import ConnectorError

MAX_LINE_BYTES = 64 * 1024 * 1024


class Lines:
    """The lines of an open file; `offset` and `number` say how far it was read, in bytes and lines.

    Whoever makes items of them calls `begin` before each, so that it is known where an item began.
    """

    def __init__(self, file: BufferedReader | gzip.GzipFile, name: str, number: int = 0) -> None:
        self._file = file
        self.name = name
        self.offset = file.tell()
        self.number = number
        self._began = (self.offset, number)
        self.unfinished: tuple[int, int] | None = None
        """Where the item began that the file's end cut off (offset, lines before it): the file may be written still."""

    def begin(self) -> None:
        """The next line begins an item."""
        self._began = (self.offset, self.number)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            if self._began != (self.offset, self.number):
                self.unfinished = self._began  # the item goes on: an open quote
            raise StopIteration
        if len(line) > MAX_LINE_BYTES:
            raise ConnectorError(f"{self.name}, line {self.number + 1} is longer than {MAX_LINE_BYTES // 1024**2} MiB")
        self.offset += len(line)
        self.number += 1
        if not line.endswith(b"\n"):
            self.unfinished = self._began
        return line


Parser: TypeAlias = Callable[[Lines, bool], Iterator[SourceItem]]
"""Turns lines into items; the flag says that the lines start in the middle of the file."""
