"""Reading and writing files line by line, with a checkpoint that is a byte offset.

Sources read one file or a glob of them, plain or `.gz`, and continue at their checkpoint. Sinks append, and at
the start cut the file back to the checkpoint: what a killed process wrote and did not commit is gone, and is
written again. What does not live here: what a line means (`csv_files`, `jsonl_files`).
"""

from __future__ import annotations

import asyncio
import fcntl
import glob
import gzip
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO, Literal, TypeAlias

import orjson

from papyra_flow.connectors.base import Portion, SourceItem
from papyra_flow.errors import ConnectorError
from papyra_flow.streams.entries import Record

MAX_LINE_BYTES = 64 * 1024 * 1024
LOCK_RETRY_SECONDS = 0.2
_log = logging.getLogger("papyra_flow.sink")


class Lines:
    """The lines of an open file; `offset` and `number` say how far it was read, in bytes and lines."""

    def __init__(self, file: BufferedReader | gzip.GzipFile, name: str, number: int = 0) -> None:
        self._file = file
        self.name = name
        self.offset = file.tell()
        self.number = number

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        if len(line) > MAX_LINE_BYTES:
            raise ConnectorError(f"{self.name}, line {self.number + 1} is longer than {MAX_LINE_BYTES // 1024**2} MiB")
        self.offset += len(line)
        self.number += 1
        return line


Parser: TypeAlias = Callable[[Lines, bool], Iterator[SourceItem]]
"""Turns lines into items; the flag says that the lines start in the middle of the file."""


class FileSource:
    """Files, one after the other in the order of their names."""

    def __init__(self, pattern: str, folder: Path, parser: Parser, head: Callable[[Lines], None] | None = None) -> None:
        self._pattern = pattern
        self._folder = folder
        self._parser = parser
        self._head = head
        self._files: list[Path] = []
        self._file: BufferedReader | gzip.GzipFile | None = None
        self._lines: Lines | None = None
        self._items: Iterator[SourceItem] = iter(())
        self._position: dict[str, str | int] = {}

    async def start(self, checkpoint: str) -> str:
        """Find the files and go to the checkpoint `{"file", "offset", "line"}`."""
        whole = str(self._folder / self._pattern)
        self._files = sorted(Path(name) for name in glob.glob(whole, recursive=True))  # noqa: PTH207 - absolute patterns too
        if not self._files:
            raise ConnectorError(f"there is no file {self._pattern}")
        self._position = orjson.loads(checkpoint) if checkpoint else {}
        if reached := self._position.get("file"):
            self._files = [file for file in self._files if self._name(file) >= str(reached)]
        if self._files and self._name(self._files[0]) == self._position.get("file"):
            offset, line = int(self._position["offset"]), int(self._position["line"])
            with self._readable(self._files[0]):
                self._open(self._files.pop(0), offset, line)
        return checkpoint

    async def read(self, count: int) -> Portion:
        """The next items; a portion never spans two files."""
        while True:
            if self._lines is None:
                if not self._files:
                    return Portion([], orjson.dumps(self._position).decode(), done=True)
                with self._readable(self._files[0]):
                    self._open(self._files.pop(0), 0, 0)
            lines = self._lines
            if lines is None:
                continue
            with self._readable(Path(lines.name)):
                items = list(islice(self._items, count))
            if items:
                self._position = {"file": lines.name, "offset": lines.offset, "line": lines.number}
                return Portion(items, orjson.dumps(self._position).decode())
            await self.close()

    async def close(self) -> None:
        """Close the current file."""
        if self._file is not None:
            self._file.close()
        self._file = self._lines = None

    def _name(self, file: Path) -> str:
        return os.path.relpath(file, self._folder)

    def _open(self, file: Path, offset: int, line: int) -> None:
        opened = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # noqa: SIM115 - closed by `close`
        self._file = opened
        if offset and self._head is not None:
            self._head(Lines(opened, self._name(file)))
        if offset:
            opened.seek(offset)
        self._lines = Lines(opened, self._name(file), line)
        self._items = self._parser(self._lines, bool(offset))

    def _readable(self, file: Path) -> _Readable:
        return _Readable(file.name)


class _Readable:
    """Turns what reading a file may raise into one sentence with the file's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> Literal[False]:
        if isinstance(exc, EOFError | zlib.error):
            raise ConnectorError(f"{self._name} is cut off or damaged: {exc}") from exc
        if isinstance(exc, OSError):
            raise ConnectorError(f"cannot read {self._name}: {exc.strerror or exc}") from exc
        return False


class FileSink:
    """A file that records are appended to, whole batches at a time; `.gz` gets one gzip member a batch."""

    def __init__(
        self,
        path: Path,
        encode: Callable[[Record, bytes | None], bytes],
        *,
        fsync: bool,
        overwrite: bool,
        head: Callable[[], bytes] | None = None,
        adopt: Callable[[Iterator[bytes]], None] | None = None,
    ) -> None:
        """`head` is what a new file starts with, `adopt` is given the lines of one that is gone on with."""
        self._path = path
        self._encode = encode
        self._fsync = fsync
        self._overwrite = overwrite
        self._head = head
        self._adopt = adopt
        self._file: IO[bytes] | None = None
        self._offset = 0

    async def lock(self) -> None:
        """Open the file and lock it (flock(2)); a process that has the lock gives it up when it is fenced off."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
            await self._wait_for_lock(self._file)
        except OSError as exc:
            raise ConnectorError(f"cannot write {self._path}: {exc.strerror or exc}") from exc

    async def start(self, checkpoint: str) -> str:
        """Cut the file back to the checkpoint; without one it keeps what is in it, unless it is to be overwritten."""
        file = self._file
        if file is None:
            raise ConnectorError(f"{self._path} is not locked")
        try:
            size = os.fstat(file.fileno()).st_size
            if checkpoint:
                self._offset = min(int(checkpoint), size)
            else:
                self._offset = 0 if self._overwrite else size
            file.truncate(self._offset)
            if self._adopt is not None and self._offset:
                with gzip.open(self._path) if self._path.suffix == ".gz" else self._path.open("rb") as lines:
                    self._adopt(iter(lines))
        except OSError as exc:
            raise ConnectorError(f"cannot write {self._path}: {exc.strerror or exc}") from exc
        return str(self._offset)

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        """A line for the record."""
        return self._encode(record, raw)

    async def write(self, chunks: Sequence[tuple[bytes, bytes]]) -> str:
        """Append, flush, and (unless told otherwise) wait until the disk has it."""
        file = self._file
        if file is None:
            raise ConnectorError(f"{self._path} is not open")
        data = b"".join(chunk for _, chunk in chunks)
        if data:
            if self._head is not None and self._offset == 0:
                data = self._head() + data
            if self._path.suffix == ".gz":
                data = gzip.compress(data, 6, mtime=0)
            try:
                file.truncate(self._offset)  # a write that was not committed is taken back
                file.write(data)
                file.flush()
                if self._fsync:
                    await asyncio.to_thread(os.fsync, file.fileno())
            except OSError as exc:
                raise ConnectorError(f"cannot write {self._path}: {exc.strerror or exc}") from exc
        self._pending = self._offset + len(data)
        return str(self._pending)

    def committed(self) -> None:
        """What was written last is committed: the next write goes after it."""
        self._offset = self._pending

    async def close(self) -> None:
        """Close the file, which gives up its lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _wait_for_lock(self, file: IO[bytes]) -> None:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    _log.info("waiting for the process that writes %s to let go of it", self._path)
                    told = True
                await asyncio.sleep(LOCK_RETRY_SECONDS)
            else:
                return

    _pending: int = 0
