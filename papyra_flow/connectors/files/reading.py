"""Reading a file on from where its part says: items, and the part's new state after them.

A last line without an end may still be being written. Where the file is read whole it is sent, and the part remembers
what was sent; when the file has grown, that line is read again, and sent again if it has become another. Where the
file is followed it is left until its end is there.
"""

from __future__ import annotations

import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterator

from papyra_flow.connectors.base import SourceItem
from papyra_flow.connectors.files.lines import Lines, Parser
from papyra_flow.connectors.files.open_file import LOOK_BYTES, OpenFile
from papyra_flow.connectors.files.part import FilePart, digest, digest_of
from papyra_flow.errors import ConnectorError

DAMAGED = (OSError, EOFError, zlib.error)
"""What may come up in the middle of a file: of the disk, or of a packed file that was cut off or is damaged."""
Head = Callable[[Lines], None]
"""Reads what stands at the beginning of a file, for what comes later: the header."""
_log = logging.getLogger("papyra_flow.source")


class Reading:
    """One file, from where it was left; `take` items, then `note` them in the part."""

    def __init__(self, part: FilePart, file: OpenFile, parser: Parser, head: Head | None, *, whole: bool) -> None:
        self._part = part
        self._file = file
        self._whole = whole
        self._again = deque(part.sent)
        self._sent: list[str] = []
        offset, line = part.unfinished or (part.offset, part.line)
        self._first = line + 1
        if offset and head is not None:
            file.go(0)
            head(Lines(file.reader, part.path))
        file.go(offset)
        self._lines = Lines(file.reader, part.path, line)
        self._items = parser(self._lines, bool(offset))

    @property
    def offset(self) -> int:
        """How far it was read, unfinished lines included."""
        return self._lines.offset

    def take(self, count: int) -> list[SourceItem]:
        """Up to `count` items; none at the end."""
        found: list[SourceItem] = []
        lines = self._lines
        try:
            for item in self._items:
                if lines.unfinished is not None or self._again:
                    if lines.unfinished is not None and not self._whole:
                        self._items = iter(())
                        break
                    if self._was_sent(item):
                        continue
                found.append(item)
                if len(found) >= count:
                    break
        except DAMAGED as exc:
            # What stands before it arrives, and is not sent again by a later attempt: the error comes with the next.
            lines.back()
            self._items = _raising(exc)
            if not found:
                raise
        except ConnectorError:
            # What cannot be made of a line that is still being written may be made of the whole one.
            if self._whole or lines.unfinished is None:
                raise
            self._items = iter(())
        return found

    def _was_sent(self, item: SourceItem) -> bool:
        """Whether this is what was sent of the unfinished end before; warns, once, if it has become another."""
        known = digest_of(item)
        if self._lines.unfinished is not None:
            self._sent = [known]
        if not self._again:
            return False
        if self._again[0] == known:
            self._again.popleft()
            return True
        self._again.clear()
        _log.warning(
            "%s, line %d had no end when it was read, and has grown since: it is sent again as it is now, after the "
            "first version of it", self._part.path, self._first,
        )  # fmt: skip
        return False

    def note(self) -> bool:
        """Move the part to what was taken; returns whether that is another state."""
        part, lines, before = self._part, self._lines, self._part.encode()
        place, left = (lines.offset, lines.number), lines.unfinished
        if left is None or self._whole:
            self._move(place, left, self._sent if left is not None else [])
        elif not self._again:
            self._move(left, None, [])
        status = self._file.status()
        if not self._file.packed and lines.offset == status.st_size:
            part.size, part.modified = status.st_size, status.st_mtime_ns
        return part.encode() != before

    def _move(self, place: tuple[int, int], unfinished: tuple[int, int] | None, sent: list[str]) -> None:
        part = self._part
        part.offset, part.line = place
        part.unfinished, part.sent = unfinished, list(sent)
        part.head = digest(self._file.start(min(part.offset, LOOK_BYTES))) if part.offset else ""
        before = self._file.before(part.offset) if part.offset > LOOK_BYTES else b""
        # Lines read ahead as far as a record may reach: what they passed in a packed file may be forgotten by now.
        part.tail = digest(before) if len(before) == LOOK_BYTES else ""

    def end(self) -> bool:
        """The end was reached: keep that in the part; returns whether that is another state."""
        part, changed = self._part, self.note()
        if self._file.packed:
            before, status = (part.size, part.modified), self._file.status()
            part.size, part.modified = status.st_size, status.st_mtime_ns
            changed = changed or before != (part.size, part.modified)
        return changed


def _raising(exc: Exception) -> Iterator[SourceItem]:
    raise exc
    yield  # which makes it a generator
