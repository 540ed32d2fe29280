"""What a sink has written behind its checkpoint, noted before it is written: the proof that it may be cut off again.

A note says which stretches of the file were written by which owner, and of the newest piece a checksum a page, so that
a piece of which a killed process wrote only a part is known, too (a write ends at a page's border then). What the notes
do not prove, others may have written: it stays. They are kept in an attribute of the file, which goes with the file, is
made durable with it and costs no second wait for the disk; where the file system has none, in a file beside it.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from papyra_flow.connectors.files.mark import EDGE, Mark

PAGE = 4096
SAMPLE = 64
"""Bytes at each end of a page that its checksum is of: one of all bytes would take as long as writing them."""
MAX_PIECE = 512 * 1024
"""Bytes that one note stands for: its 128 checksums fit the 4 KB that ext4 has for attributes."""
MAX_STRETCHES = 16
_ATTRIBUTE = "user.papyra_flow"
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOSPC, errno.E2BIG, errno.ERANGE}
_log = logging.getLogger("papyra_flow.sink")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of the file that one owner wrote in one turn, without a gap."""

    owner: str
    turn: int
    start: int
    end: int

    def is_of(self, owner: str, turn: int) -> bool:
        """Whether this owner wrote it, in this turn or a later one."""
        return self.owner == owner and self.turn >= turn


@dataclass(frozen=True, slots=True)
class WriteNote:
    """The stretches, oldest first; the newest ends with a piece that begins `at`."""

    stretches: tuple[Stretch, ...] = ()
    at: int = 0
    before: int = 0
    """Checksum of the bytes before the piece."""
    pages: Sequence[int] = ()

    def extended(self, newest: Stretch, mark: Mark, piece: bytes) -> WriteNote:
        """The note for one more piece, which is to be written at the mark, and ends the newest stretch."""
        start, end = newest.start, newest.end
        kept = [replace(one, end=min(one.end, start)) for one in self.stretches if one.start < start]
        stretches = (*kept, newest)[-MAX_STRETCHES:]
        pages = [_checksum(piece, a - mark.at, b - mark.at) for a, b in _pages(mark.at, end)]
        return WriteNote(stretches, mark.at, zlib.crc32(mark.tail), pages)

    def proves(self, descriptor: int, size: int) -> bool:
        """Whether the file ends with the newest piece, or with as much of it as a killed process wrote."""
        end = self.stretches[-1].end
        if not self.at <= size <= end:
            return False
        edge = min(self.at, EDGE)
        if zlib.crc32(os.pread(descriptor, edge, self.at - edge)) != self.before:
            return False
        data = os.pread(descriptor, size - self.at, self.at)
        reached = self.at
        for (a, b), checksum in zip(_pages(self.at, end), self.pages, strict=False):
            if b > size:
                break
            if _checksum(data, a - self.at, b - self.at) != checksum:
                return False
            reached = b
        return reached == size

    def __bytes__(self) -> bytes:
        stretches = [(one.owner, one.turn, one.start, one.end) for one in self.stretches]
        pages = struct.pack(f">{len(self.pages)}I", *self.pages).hex()
        return orjson.dumps({"stretches": stretches, "at": self.at, "before": self.before, "pages": pages})

    @classmethod
    def parse(cls, data: bytes) -> WriteNote | None:
        """A note as it was kept; None if it is damaged."""
        try:
            facts: Any = orjson.loads(data)
            pages = bytes.fromhex(facts["pages"])
            checksums = struct.unpack(f">{len(pages) // 4}I", pages)
            stretches = tuple(Stretch(*one) for one in facts["stretches"])
            return cls(stretches, facts["at"], facts["before"], checksums) if stretches else None
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, struct.error):
            return None


def _pages(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A stretch of a file, cut at the borders of its pages."""
    borders = [start, *range((start // PAGE + 1) * PAGE, end, PAGE), end] if end > start else []
    return pairwise(borders)


def _checksum(data: bytes, start: int, end: int) -> int:
    """A checksum of both ends of a page: what others write there would have to have its length, and both."""
    return zlib.crc32(data[start : start + SAMPLE] + data[max(start, end - SAMPLE) : end])


class Journal:
    """The notes of one open file."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        real = Path(os.path.realpath(path))
        self._beside = real.with_name(f".{real.name}.papyra-flow")
        self._beside_descriptor: int | None = None
        self._unwritable = False
        status = os.fstat(descriptor)
        self._identity = b"%d:%d" % (status.st_dev, status.st_ino)
        """What the file beside says which file its notes are of."""
        self.note = self._read()
        """None where nothing was noted yet."""

    def add(self, newest: Stretch, mark: Mark, piece: bytes) -> None:
        """Note a piece that is to be written at the mark, as the end of a stretch."""
        self.note = (self.note or WriteNote()).extended(newest, mark, piece)
        self._write(bytes(self.note))

    def sync(self) -> None:
        """Wait until the disk has the notes, where they are not the file's own."""
        if self._beside_descriptor is not None:
            os.fsync(self._beside_descriptor)

    def close(self) -> None:
        """Close the file beside, if there is one."""
        if self._beside_descriptor is not None:
            os.close(self._beside_descriptor)
            self._beside_descriptor = None

    def _read(self) -> WriteNote | None:
        if sys.platform == "linux":
            try:
                return WriteNote.parse(os.getxattr(self._descriptor, _ATTRIBUTE))
            except OSError:
                pass  # none there, or none to be had
        try:
            descriptor = os.open(self._beside, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            of, _, note = os.pread(descriptor, PAGE, 0).partition(b"\n")[0].partition(b" ")
            return WriteNote.parse(note) if of == self._identity else None
        finally:
            os.close(descriptor)

    def _write(self, data: bytes) -> None:
        if self._unwritable:
            return
        if self._beside_descriptor is None and sys.platform == "linux":
            try:
                os.setxattr(self._descriptor, _ATTRIBUTE, data)
            except OSError as exc:
                if exc.errno not in _NO_ATTRIBUTES:
                    raise
            else:
                return
        if self._beside_descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                self._beside_descriptor = os.open(self._beside, flags, 0o666)
            except OSError as exc:
                self._unwritable = True
                _log.warning(
                    "cannot create %s (%s): what a killed run did not commit stays in the file, and may be duplicated",
                    self._beside,
                    exc.strerror,
                )
                return
        os.pwrite(self._beside_descriptor, self._identity + b" " + data + b"\n", 0)
