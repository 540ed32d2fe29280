"""Writing files, with a checkpoint that is the file's length.

A sink appends, and at the start cuts the file back to the checkpoint: what a killed process wrote and did not commit
is gone, and is written again. What does not live here: what a record becomes (`csv_sink`, `jsonl_sink`).
"""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from papyra_flow.errors import ConnectorError
from papyra_flow.streams.entries import Record

LOCK_RETRY_SECONDS = 0.2
_log = logging.getLogger("papyra_flow.sink")


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
