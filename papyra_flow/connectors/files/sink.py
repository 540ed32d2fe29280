"""Writing files, exactly once: a sink appends, and at its start takes back what was written and not committed.

It never cuts or overwrites what others wrote: bytes behind the checkpoint are cut off only where its own notes prove
them (`sink_journal`), a file that is not the one of the checkpoint is continued at its end, and one that is deleted,
renamed, cut or appended to under a run is noticed with the next batch.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from papyra_flow.connectors.base import ConnectorContext
from papyra_flow.connectors.files.lock import is_same_file, open_locked
from papyra_flow.connectors.files.mark import Checkpoint, new_owner
from papyra_flow.connectors.files.sink_file import Change, SinkFile
from papyra_flow.errors import ConnectorError
from papyra_flow.records.entries import Record

SETTLE_SECONDS = 10.0
"""How long the file that was written before is waited for, while another process has it locked."""
GZIP_MAGIC = b"\x1f\x8b"
_log = logging.getLogger("papyra_flow.sink")

Adopt = Callable[[Path, bool], None]
"""Looks at a file that is gone on with; raises ConnectorError if it does not fit. Whether it is known to be ours."""


class FileSink:
    """A file that records are appended to, whole batches at a time; `.gz` gets one gzip member a batch."""

    def __init__(
        self,
        context: ConnectorContext,
        path: str,
        encode: Callable[[Record, bytes | None], bytes],
        *,
        fsync: bool,
        overwrite: bool,
        head: Callable[[], bytes] | None = None,
        adopt: Adopt | None = None,
    ) -> None:
        """`head` is what a new file starts with, `adopt` is asked about one that is gone on with."""
        self._context = context
        self._name = path
        self._path = context.folder / path
        self._encode = encode
        self._fsync = fsync
        self._overwrite = overwrite
        self._head = head
        self._adopt = adopt
        self._file: SinkFile | None = None
        self._identity = (0, 0)
        self._owner = ""
        self._turn = self._begun = 0
        self._records = self._pending = 0
        """Records in the file that this run wrote, without and with the last batch."""
        self._told_grown = False

    # -- the start --------------------------------------------------------------------------------------------

    async def lock(self) -> None:
        """Open the file and lock it (flock(2)); a process that has the lock gives it up when it is fenced off."""
        with self._told():
            self._file = await SinkFile.open(self._path)

    async def start(self, checkpoint: str) -> str:
        """Take back what was not committed; without a checkpoint the file keeps what is in it, unless `overwrite`."""
        held = Checkpoint.parse(checkpoint, self._name)
        with self._told():
            file = self._open_file()
            if held is None:
                self._owner = new_owner()
                self._begun = at = 0 if self._overwrite else file.size
                self._look_into(file, ours=False, at=at)
                if self._overwrite:
                    file.cut(0)
            else:
                at = await self._resume(file, held)
            file.begin(at, self._owner, self._turn, resumed=held is not None and at == held.at)
            self._identity = file.identity
        return str(self._checkpoint())

    async def _resume(self, file: SinkFile, held: Checkpoint) -> int:
        """Where to continue, given a checkpoint: in its file, or at the end of another one."""
        self._owner, self._turn = held.owner, held.turn
        same_path = self._is_here(held, file)
        if held.file != file.identity:
            await self._settle(held)
        if same_path and file.fits(held):
            self._begun = held.begun
            at = self._cut_back(file, held)
            self._look_into(file, ours=held.at > held.begun, at=at)
            return at
        self._turn += 1
        if same_path and held.at:
            self._tell_replaced(file, held)
        at = file.size
        if (start := file.proven(self._owner, self._turn)) is not None:
            at = start  # written in a turn that the server has lost
            file.cut(at)
        self._look_into(file, ours=False, at=at)
        self._begun = at
        return at

    def _is_here(self, held: Checkpoint, file: SinkFile) -> bool:
        """Whether a checkpoint is of the file that is written now, as its path or its inode says."""
        if os.path.normpath(held.path) == os.path.normpath(self._name) or held.file == file.identity:
            return True
        return is_same_file(self._context.folder / held.path, self._path)

    def _cut_back(self, file: SinkFile, held: Checkpoint) -> int:
        """Cut off what is behind a checkpoint, as far as it is proven to be ours; returns the file's end."""
        size = file.size
        if size == held.at:
            return size
        at = size
        if (start := file.proven(held.owner, held.turn)) is not None:
            at = max(held.at, start)
            file.cut(at)
        if doubtful := file.perhaps_ours(held.owner, held.turn, held.at, at):
            _log.warning(
                "%s: %d bytes after the checkpoint were written by a killed run, or by others: they are kept, and "
                "their records may be duplicated",
                file.path,
                doubtful,
            )
        elif at > held.at:
            _log.info("%s: others appended %d bytes; continuing after them", file.path, at - held.at)
        return at

    async def _settle(self, held: Checkpoint) -> None:
        """Take back what was written to the file before and not committed: it is written again, to another file."""
        known_as = self._context.folder / held.path
        before = _with_inode(known_as.parent, held.file) or known_as
        if is_same_file(before, self._path):
            return
        try:
            file = SinkFile(before, await open_locked(before, create=False, within=SETTLE_SECONDS), known_as)
        except FileNotFoundError:
            return
        except (OSError, ConnectorError) as exc:
            _log.warning("%s: what was written there and not committed may be written twice: %s", before, exc)
            return
        try:
            await self._context.fence()
            if file.fits(held):
                self._cut_back(file, held)
        finally:
            file.close()

    def _tell_replaced(self, file: SinkFile, held: Checkpoint) -> None:
        size, what = file.size, f"the file that this stage wrote, of {held.at:,} bytes, is gone"
        if size:
            _log.warning("%s: %s; continuing after the %d bytes of the file now there", self._path, what, size)
        else:
            _log.warning("%s: %s; starting a new one", self._path, what)

    def _look_into(self, file: SinkFile, *, ours: bool, at: int) -> None:
        """Refuse a file that what is to be written does not fit; it is left as it is."""
        if not at:
            return
        if self._is_gzip:
            with file.path.open("rb") as opened:
                if opened.read(2) != GZIP_MAGIC:
                    raise ConnectorError(f"{file.path} is not a gzip file")
        if self._adopt is not None:
            self._adopt(file.path, ours)

    # -- a batch ----------------------------------------------------------------------------------------------

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        """A line for the record."""
        return self._encode(record, raw)

    async def write(self, chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str] = bytes.decode) -> str:
        """Append, flush, and (unless told otherwise) wait until the disk has it."""
        data = b"".join(chunk for _, chunk in chunks)
        with self._told():
            await self._notice()
            file = self._open_file()
            if data:
                file.append(self._framed(data, file))
                if self._fsync:
                    await asyncio.to_thread(file.sync)
        self._pending = self._records + len(chunks)
        return str(self._checkpoint())

    def committed(self) -> None:
        """What was written last is committed: the next write goes after it."""
        file = self._open_file()
        file.committed = file.written
        self._records = self._pending

    async def close(self) -> None:
        """Close the file, which gives up its lock."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                if (change := file.change()) in {"deleted", "cut"}:
                    self._tell(file, change)
            file.close()

    def _framed(self, data: bytes, file: SinkFile) -> bytes:
        if self._head is not None and not file.written.at:
            data = self._head() + data
        if self._is_gzip:
            return gzip.compress(data, 6, mtime=0)
        return b"\n" + data if file.written.within_line else data

    # -- what others do to the file ---------------------------------------------------------------------------

    async def _notice(self) -> None:
        """Make sure that the file is still the one under the path, and ends where it was written to last."""
        file = self._open_file()
        change = file.change()
        if change is not None:
            self._tell(file, change)
        if not file.take_back() and file.size > file.committed.at:
            _log.warning("%s: a batch that is written again cannot be taken back, and may be duplicated", self._path)
        if change in {"deleted", "renamed"}:
            self._file = None
            file.close()
            self._file = file = await SinkFile.open(self._path)
            await self._context.fence()
        if change is not None:
            at = file.size
            self._look_into(file, ours=False, at=at)
            if change != "grown":
                self._turn, self._begun, self._identity = self._turn + 1, at, file.identity
                self._records = self._pending = 0
            file.begin(at, self._owner, self._turn)
            await self._context.keep(str(self._checkpoint()))

    def _tell(self, file: SinkFile, change: Change) -> None:
        """Say what happened to the file, and count the records that are gone with it."""
        if change == "grown":
            if not self._told_grown:
                _log.warning("%s: another process also appends to it; continuing after its output", self._path)
            self._told_grown = True
            return
        kept = {"deleted": 0, "cut": file.size}.get(change, file.committed.at)
        gone = file.committed.at - max(kept, self._begun)
        if gone <= 0:
            where = "after what is left" if change == "cut" else "in a new file"
            _log.warning("%s was %s during the run; continuing %s", self._path, change, where)
            return
        _log.error(
            "%s was %s during the run: %s bytes that were committed are gone, %s records of this run among them",
            self._path,
            f"cut to {kept:,} bytes" if kept else "emptied" if change == "cut" else "deleted",
            f"{gone:,}",
            f"up to {self._records:,}" if self._records else "no",
        )
        self._context.lost(max(1, self._records))

    # -- beside -----------------------------------------------------------------------------------------------

    @property
    def _is_gzip(self) -> bool:
        return self._path.suffix == ".gz"

    def _open_file(self) -> SinkFile:
        if self._file is None:
            raise ConnectorError(f"{self._path} is not open")
        return self._file

    def _checkpoint(self) -> Checkpoint:
        file = self._open_file()
        mark = file.written
        return Checkpoint(self._name, self._identity, mark.at, mark.fingerprint, self._owner, self._turn, self._begun)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what writing a file may raise into one sentence."""
        try:
            yield
        except OSError as exc:
            raise ConnectorError(f"cannot write {self._path}: {exc.strerror or exc}") from exc


def _with_inode(folder: Path, identity: tuple[int, int]) -> Path | None:
    """The file of a folder that has this inode: what logrotate renames stays in its folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.inode() == identity[1] and entry.stat(follow_symlinks=False).st_dev == identity[0]:
                return Path(entry.path)
    return None
