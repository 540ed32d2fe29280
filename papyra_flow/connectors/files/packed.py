"""The text of a gzip file, of all its members: that of one that is cut off as far as it goes.

Python's own reader drops what it has unpacked when the file ends too soon, which may be all of a small one. Of a piece
that is damaged nothing is given out: what stands before the place where it shows may be wrong already.
https://www.rfc-editor.org/rfc/rfc1952
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE = 16 * 1024
RECENT_BYTES = 256 * 1024
START_BYTES = 4096
_MAGIC = b"\x1f\x8b"
_GZIP = 31  # zlib's word for a gzip member with its header and trailer


class Unpacked(io.RawIOBase):
    """The text of a gzip file, which remembers its beginning and what a buffered reader may just have passed.

    What is wrong with it is raised when all before it was given out: zlib.error, EOFError or BadGzipFile.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._recent = b""
        self.start = b""
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._place = 0
        self._packed = b""
        self._member: zlib._Decompress | None = None
        self._in_first = True

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can go anywhere, by unpacking it again."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Some of the text."""
        view = memoryview(buffer).cast("B")
        place = self._place
        data = self._text(len(view))
        view[: len(data)] = data
        if place == len(self.start) < START_BYTES:
            self.start += data[: START_BYTES - place]
        self._recent = (self._recent + data)[-RECENT_BYTES:]
        return len(data)

    def between(self, start: int, end: int) -> bytes:
        """What was read between two places, as far as it is remembered."""
        first = self._place - len(self._recent)
        return self._recent[max(0, start - first) : max(0, end - first)]

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place in the text."""
        if whence == io.SEEK_CUR:
            offset += self._place
        if offset != self._place:
            self._recent = b""
        if offset < self._place:
            self._rewind()
        while self._place < offset and self._text(min(PIECE, offset - self._place)):
            pass
        return self._place

    def tell(self) -> int:
        """The place in the text."""
        return self._place

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()

    def _text(self, most: int) -> bytes:
        """Some of the text, empty at its end."""
        while self._member is not None or self._begin_member():
            if found := self._unpacked(most):
                self._place += len(found)
                return found
        return b""

    def _begin_member(self) -> bool:
        """Go to the next member, past zeros that fill up a block; returns whether there is one."""
        while len(self._packed) < len(_MAGIC):
            if not (more := self._file.read(PIECE)):
                break
            self._packed += more
            if not self._in_first:
                self._packed = self._packed.lstrip(b"\0")
        if not self._packed:
            return False
        if not self._packed.startswith(_MAGIC):
            raise gzip.BadGzipFile(f"Not a gzipped file ({self._packed[:2]!r})")
        self._member, self._in_first = zlib.decompressobj(_GZIP), False
        return True

    def _unpacked(self, most: int) -> bytes:
        member = self._member
        assert member is not None  # noqa: S101 - it was begun
        data = member.unconsumed_tail or self._packed or self._file.read(PIECE)
        self._packed = b""
        found = member.decompress(data, most)
        if member.eof:
            self._member, self._packed = None, member.unused_data.lstrip(b"\0")
        elif not data and not found:
            raise EOFError("it ends within its compressed data")
        return found
