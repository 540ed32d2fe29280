"""An open file, plain or packed: what a source reads of it, and looks at without reading on."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from pathlib import Path
from typing import Literal

from papyra_flow.connectors.files.packed import START_BYTES, Unpacked
from papyra_flow.errors import ConnectorError

BUFFER_BYTES = 64 * 1024
LOOK_BYTES = START_BYTES
"""How much of its beginning, and of what stands before a place that was read up to, can be looked at."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(status: os.stat_result) -> str | None:
    """What it is, in a word, if it is not a file."""
    return None if stat.S_ISREG(status.st_mode) else _KINDS.get(stat.S_IFMT(status.st_mode), "something else")


def not_a_file(name: str, kind: str) -> ConnectorError:
    """The error for what cannot be read as a file is."""
    hint = "; to read a pipe, use `read: stdin`" if kind in {"a pipe", "a device"} else ""
    return ConnectorError(f"cannot read {name}: it is {kind}, not a file{hint}")


class OpenFile:
    """A file opened for reading, `reader` at its beginning; raises OSError, ConnectorError if it is not a file."""

    def __init__(self, path: Path, name: str) -> None:
        # Without O_NONBLOCK a pipe that was put into the file's place would be waited for.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if (kind := kind_of(os.fstat(self._descriptor))) is not None:
            os.close(self._descriptor)
            raise not_a_file(name, kind)
        self.path = path
        self.packed = is_packed(path)
        file = io.FileIO(self._descriptor, "rb")
        self._unpacked = Unpacked(file) if self.packed else None
        self.reader: io.BufferedReader = io.BufferedReader(self._unpacked or file, BUFFER_BYTES)
        self._start = b""

    def status(self) -> os.stat_result:
        """Its size and times, as they are now."""
        return os.fstat(self._descriptor)

    def at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at a place; moves the reader, if the file is packed."""
        if self._unpacked is None:
            return os.pread(self._descriptor, count, offset)
        self.reader.seek(offset)
        return self.reader.read(count)

    def go(self, offset: int) -> None:
        """Put the reader at a place, past what stands before it; what was buffered of the file is read again."""
        if self._unpacked is None:
            self.reader = io.BufferedReader(self.reader.detach(), BUFFER_BYTES)
        passed = min(offset, LOOK_BYTES)
        self.reader.seek(offset - passed)
        self.reader.read(passed)

    def start(self, count: int) -> bytes:
        """Up to `count` bytes of its beginning, as they were when they were first looked at; `LOOK_BYTES` at most."""
        if self._unpacked is not None:
            return self._unpacked.start[:count]
        if len(self._start) < count:
            self._start += os.pread(self._descriptor, LOOK_BYTES - len(self._start), len(self._start))
        return self._start[:count]

    def before(self, offset: int) -> bytes:
        """The `LOOK_BYTES` before a place that the reader has passed; fewer, if that was long ago and it is packed."""
        if self._unpacked is not None:
            return self._unpacked.between(offset - LOOK_BYTES, offset)
        return os.pread(self._descriptor, LOOK_BYTES, offset - LOOK_BYTES)

    def close(self) -> None:
        """Close it."""
        self.reader.close()


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return path.suffix == ".gz"


class readable:  # noqa: N801 - used as a word: `with readable(name):`
    """Turns what reading a file may raise into one sentence with the file's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> Literal[False]:
        if isinstance(exc, EOFError | zlib.error | gzip.BadGzipFile):
            raise ConnectorError(f"{self._name} is cut off or damaged: {exc}") from exc
        if isinstance(exc, OSError):
            raise ConnectorError(f"cannot read {self._name}: {exc.strerror or exc}") from exc
        return False
