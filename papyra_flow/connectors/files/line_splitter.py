"""Lines from blocks of bytes, as they come: in linear time, and in memory bounded by the longest line allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

from papyra_flow.connectors.files.text_form import TextForm

KEPT = 16 * 1024
"""Bytes that are kept of a line that is too long."""


@final
@dataclass(frozen=True, slots=True)
class LongLine:
    """A line that is longer than allowed: its beginning, and how many bytes it had with its end."""

    head: bytes
    length: int

    def __len__(self) -> int:
        return self.length

    def told(self, most: int) -> str:
        """What is wrong with it."""
        return f"the line has {self.length:,} bytes, more than `max_record` allows ({most:,})"


AnyLine: TypeAlias = bytes | LongLine


class LineSplitter:
    """Takes blocks with `feed`, and gives the lines that are whole; `rest` is the one behind the last line end."""

    def __init__(self, form: TextForm, most: int) -> None:
        self._form = form
        self._most = most
        self._held = b""
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[AnyLine]:
        """The lines that end in this block."""
        data = self._held + data if self._held else data
        self._held = b""
        if held := self._form.held_back(data):
            data, self._held = data[:-held], data[-held:]
        pieces = self._form.split(data)
        lines: list[AnyLine] = []
        if pieces and self._size:
            self._lengthen(pieces[0])
            if self._form.is_ended(pieces.pop(0)):
                lines.append(self._taken())
        if pieces and not self._form.is_ended(pieces[-1]):
            self._lengthen(pieces.pop())
        lines += map(self._bounded, pieces) if len(data) > self._most else pieces
        return lines

    def rest(self) -> AnyLine | None:
        """The last line, when nothing more comes: it has no end, or a \\r that may be half of one."""
        if self._held:
            self._lengthen(self._held)
            self._held = b""
        return self._taken() if self._size else None

    def _lengthen(self, piece: bytes) -> None:
        before, self._size = self._size, self._size + len(piece)
        if self._size <= self._most + KEPT:
            self._parts.append(piece)
        elif before <= self._most + KEPT:
            self._parts = [b"".join([*self._parts, piece])[:KEPT]]

    def _taken(self) -> AnyLine:
        size, data = self._size, b"".join(self._parts)
        self._parts, self._size = [], 0
        return self._bounded(data) if len(data) == size else LongLine(data, size)

    def _bounded(self, line: bytes) -> AnyLine:
        if len(self._form.content(line)) <= self._most:
            return line
        return LongLine(line[:KEPT], len(line))
