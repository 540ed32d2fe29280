"""One file that a sink has open and locked: appended to, cut back to where it was, compared with what it should be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias

from papyra_flow.connectors.files.journal import MAX_PIECE, Journal, Stretch
from papyra_flow.connectors.files.lock import is_at, open_locked
from papyra_flow.connectors.files.mark import Checkpoint, Mark

Change: TypeAlias = Literal["deleted", "renamed", "cut", "grown"]


class SinkFile:
    """The file, `committed` up to one mark and `written` up to another."""

    def __init__(self, path: Path, descriptor: int, known_as: Path | None = None) -> None:
        """`known_as` is the path that it had when it was written."""
        self.path = path
        self._descriptor = descriptor
        self._journal = Journal(known_as or path, descriptor)
        self.committed = self.written = Mark()
        self._is_new = not self.size
        self._owner, self._turn = "", 0
        self._reached = 0
        """Where the last write ended."""
        self._start = 0
        """From where on all is the owner's."""

    @classmethod
    async def open(cls, path: Path) -> SinkFile:
        """Open and lock a file, which is created if it is not there, as `open_locked` does."""
        return cls(path, await open_locked(path))

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino

    @property
    def size(self) -> int:
        """Its length now."""
        return os.fstat(self._descriptor).st_size

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Whether it is the file of a checkpoint."""
        return checkpoint.fits(self._descriptor)

    def begin(self, at: int, owner: str, turn: int, *, resumed: bool = False) -> None:
        """Go on at this place, which is the file's end; `resumed` says that the owner had written up to there."""
        self.committed = self.written = Mark.read(self._descriptor, at) or Mark()
        self._owner, self._turn, self._start = owner, turn, at
        newest = self._journal.note.stretches[-1] if self._journal.note is not None else None
        if resumed and newest is not None and (newest.owner, newest.turn) == (owner, turn) and newest.end >= at:
            self._start = min(newest.start, at)
            if newest.end > at:
                self._note(self.written, b"")  # what was noted behind it was cut off

    def proven(self, owner: str, turn: int) -> int | None:
        """From where on all of the file is this owner's, of this turn or a later one; None if it is not known to be."""
        note = self._journal.note
        if note is None or not note.stretches[-1].is_of(owner, turn):
            return None
        return note.stretches[-1].start if note.proves(self._descriptor, self.size) else None

    def perhaps_ours(self, owner: str, turn: int, start: int, end: int) -> int:
        """How many of these bytes the owner may have written: all of them where nothing was noted."""
        note = self._journal.note
        if note is None:
            return end - start
        ours = [one for one in note.stretches if one.is_of(owner, turn)]
        return sum(max(0, min(one.end, end) - max(one.start, start)) for one in ours)

    def change(self) -> Change | None:
        """What others did to the file since it was written last."""
        status = os.fstat(self._descriptor)
        if not is_at(self._descriptor, self.path):
            return "renamed" if status.st_nlink else "deleted"
        if status.st_size == self.written.at:
            return None
        return "cut" if status.st_size < self.written.at else "grown"

    def take_back(self) -> bool:
        """Cut off what was written and not committed; False if others have written behind it, so that it stays."""
        if self.written.at != self.committed.at:
            if self.size != self.written.at:
                return False
            self.cut(self.committed.at)
            self.written = self.committed
            self._note(self.written, b"")
        return True

    def cut(self, at: int) -> None:
        """Cut it off."""
        os.ftruncate(self._descriptor, at)

    def append(self, data: bytes) -> None:
        """Write behind the end, piece by piece, each noted first; what cannot be written whole is taken back."""
        try:
            for start in range(0, len(data), MAX_PIECE):
                self.written = self._append_piece(data[start : start + MAX_PIECE], self.written)
        except OSError:
            if self.size == self._reached:
                self.cut(self.committed.at)
                self.written = self.committed
            raise

    def _append_piece(self, piece: bytes, mark: Mark) -> Mark:
        self._note(mark, piece)
        rest, self._reached = memoryview(piece), mark.at
        while rest:
            count = os.write(self._descriptor, rest)
            rest, self._reached = rest[count:], self._reached + count
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if end == mark.at + len(piece):
            return mark.after(piece)
        # Another process appended in between: the piece stands further behind.
        before = Mark.read(self._descriptor, end - len(piece)) or mark
        self._start = before.at
        self._note(before, piece)
        return before.after(piece)

    def _note(self, mark: Mark, piece: bytes) -> None:
        self._journal.add(Stretch(self._owner, self._turn, self._start, mark.at + len(piece)), mark, piece)

    def sync(self) -> None:
        """Wait until the disk has it, and a new file its name."""
        os.fsync(self._descriptor)
        self._journal.sync()
        if self._is_new:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._is_new = False

    def close(self) -> None:
        """Close it, which gives up its lock."""
        self._journal.close()
        os.close(self._descriptor)
