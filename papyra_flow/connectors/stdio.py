"""`stdin` and `stdout`: JSON lines from and to the terminal or a pipe.

A pipe cannot be read again: what was read and not yet committed when the process is killed is gone with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import Field

from papyra_flow.connectors.base import (
    BadRecord,
    ConnectorContext,
    Encode,
    OpenSink,
    OpenSource,
    Portion,
    Promise,
    SinkConfig,
    SourceConfig,
    SourceItem,
)
from papyra_flow.connectors.files.line_splitter import AnyLine, LineSplitter, LongLine
from papyra_flow.connectors.files.text_form import ENCODING, Encoding, TextForm, detect
from papyra_flow.connectors.jsonl.sink import json_line
from papyra_flow.connectors.jsonl.source import BadLineError, json_text, long_line
from papyra_flow.errors import ConfigurationError
from papyra_flow.records.entries import Record
from papyra_flow.stdout import write_whole

READ_BYTES = 256 * 1024


class StdinSource(SourceConfig):
    """Read JSON lines from standard input, to its end."""

    name: ClassVar[str] = "stdin"
    promise: ClassVar[Promise] = "at-most-once"
    because: ClassVar[str] = "a pipe cannot be read again after a crash"

    encoding: Encoding = Field("utf-8", description=ENCODING)

    def open(self, context: ConnectorContext) -> OpenSource:
        """The source."""
        return _Stdin(sys.stdin.fileno(), self.encoding, context.max_record)


class _Stdin:
    """Lines as they come: a portion holds what one read returned, so that nothing waits for more."""

    def __init__(self, descriptor: int, encoding: str, most: int) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._most = most
        self._form = TextForm()
        self._splitter: LineSplitter | None = None
        self._head = b""
        self._lines: list[AnyLine] = []
        self._number = 0
        self._ended = False

    async def start(self, checkpoint: str) -> str:
        """Count on from the lines read before."""
        self._number = int(checkpoint or 0)
        return checkpoint

    async def read(self, count: int) -> Portion:
        """The lines at hand, or those of the next read."""
        while not self._lines and not self._ended:
            # A thread, because standard input may be a file, which event loops cannot wait for.
            data = await asyncio.to_thread(os.read, self._descriptor, READ_BYTES)
            self._ended = not data
            self._lines = self._split(data)
        taken, self._lines = self._lines[:count], self._lines[count:]
        items = [item for line in taken if (item := self._item(line))]
        return Portion(items, str(self._number), done=self._ended and not self._lines)

    def _split(self, data: bytes) -> list[AnyLine]:
        """The lines that are whole with this data; at the end also the last one."""
        if self._splitter is None:
            self._head += data
            form = detect(self._head, self._encoding, whole=self._ended)
            if form is None:
                return []
            self._form, self._splitter = form, LineSplitter(form, self._most)
            data, self._head = self._head[form.mark :], b""
        lines = self._splitter.feed(data)
        if self._ended and (rest := self._splitter.rest()) is not None:
            lines.append(rest)
        return lines

    def _item(self, line: AnyLine) -> SourceItem:
        """A line as an item, empty if it is blank."""
        self._number += 1
        if isinstance(line, LongLine):
            return long_line(line, self._form, self._most, "stdin", self._number)
        try:
            return json_text(line, self._form)
        except BadLineError as exc:
            return BadRecord(exc.raw, str(exc), "stdin", str(self._number))

    async def close(self) -> None:
        """Standard input stays open: it is not ours."""


class StdoutSink(SinkConfig):
    """Write records as JSON lines to standard output."""

    name: ClassVar[str] = "stdout"
    promise: ClassVar[Promise] = "at-least-once"
    because: ClassVar[str] = "what was written cannot be taken back after a crash"
    exclusive: ClassVar[bool] = False

    @property
    def uses_stdout(self) -> bool:
        """It does nothing else."""
        return True

    def open(self, context: ConnectorContext) -> OpenSink:
        """The sink."""
        return _Stdout()

    def encoder(self, context: ConnectorContext) -> Encode:
        """Lines."""
        return json_line


class _Stdout:
    async def lock(self) -> None:
        """Anyone may print."""

    async def start(self, checkpoint: str) -> str:
        """Nothing to go back to."""
        return checkpoint

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        """A line for the record."""
        return json_line(record, raw)

    async def write(self, chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str] = bytes.decode) -> str:
        """Write and flush."""
        try:
            write_whole(b"".join(chunk for _, chunk in chunks))
        except OSError as exc:
            raise ConfigurationError(f"cannot write to standard output: {exc.strerror}") from exc
        return ""

    def committed(self) -> None:
        """Nothing to note."""

    async def close(self) -> None:
        """Standard output stays open: it is not ours."""
