"""Files as a source: each is read from where it was left, and a checkpoint belongs to one file."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson
from pydantic import Field

from papyra_flow.connectors.base import Portion, SourceConfig, SourceItem
from papyra_flow.connectors.files.file_set import FileSet, FileTurn
from papyra_flow.connectors.files.lines import Parser
from papyra_flow.connectors.files.old_checkpoints import parts_of_old_checkpoint
from papyra_flow.connectors.files.open_file import OpenFile, readable
from papyra_flow.connectors.files.part import likeness
from papyra_flow.connectors.files.pattern import FilePattern
from papyra_flow.connectors.files.reading import Head, Reading
from papyra_flow.errors import ConnectorError

POLL_SECONDS = (0.2, 1.0)
"""How long to wait before files that are followed are looked at again: longer where a look takes long."""
HELD_FILES = 64
"""Followed files that stay open, which keeps their content when they are deleted."""
_log = logging.getLogger("papyra_flow.source")


class FileSourceConfig(SourceConfig):
    """Base of the sources that read files."""

    path: str = Field(min_length=1, description="The file, or a glob of files; `.gz` is decompressed.")
    follow: bool = Field(
        False, description="Keep reading as files grow, rotate or appear, instead of ending at the files' ends."
    )

    @property
    def bounded(self) -> bool:
        """Whether it does not follow."""
        return not self.follow

    def files(self) -> tuple[str, ...]:
        """The file, or the glob."""
        return (self.path,)

    def ending(self) -> SourceConfig:
        """To the present ends of the files."""
        return self.model_copy(update={"follow": False})

    def describe(self) -> str:
        """The files, and whether they are followed."""
        return super().describe() + (" (followed)" if self.follow else "")


class FileSource:
    """Files, one after the other in natural order; those that were begun come first."""

    def __init__(
        self, pattern: str, folder: Path, parser: Parser, head: Head | None = None, *, follow: bool = False
    ) -> None:
        self._pattern = FilePattern(pattern, folder)
        self._parser = parser
        self._head = head
        self._follow = follow
        self._set = FileSet(self._pattern, follow=follow)
        self._turns: deque[FileTurn] = deque()
        self._turn: FileTurn | None = None
        self._reading: Reading | None = None
        self._held: OrderedDict[int, OpenFile] = OrderedDict()
        self._checkpoint = ""
        self._pause = POLL_SECONDS[0]
        self._waiting = False

    def restore(self, parts: Mapping[str, str]) -> None:
        """Take up how far each file was read."""
        self._set.restore(parts)

    async def start(self, checkpoint: str) -> str:
        """Find the files; the checkpoint says where the last portion ended, each file's own part what was read."""
        self._checkpoint = checkpoint
        if checkpoint and self._set.empty:
            for part in await asyncio.to_thread(parts_of_old_checkpoint, checkpoint, self._pattern):
                self._set.note(self._set.add(part))
        await self._look()
        if not self._set.members:
            if not self._follow:
                raise ConnectorError(f"file not found: {self._pattern.text}")
            _log.warning("file not found: %s; waiting for it", self._pattern.text)
        return checkpoint

    async def read(self, count: int) -> Portion:
        """The next items of one file; where files are followed an empty portion every now and then."""
        while True:
            if self._reading is None and not self._turns:
                if not self._follow:
                    return self._portion([], done=True)
                if self._waiting:
                    await asyncio.sleep(self._pause)
                await self._look()
                self._waiting = not self._turns
                if self._waiting:
                    return self._portion([])
            if self._reading is None and not await self._open(self._turns.popleft()):
                continue
            if items := self._take(count):
                return self._portion(items)

    async def close(self) -> None:
        """Close all files."""
        while self._held:
            self._held.popitem()[1].close()
        self._reading = None

    async def _look(self) -> None:
        started = time.monotonic()
        self._turns = deque(await asyncio.to_thread(self._set.look, self._held))
        for number in [number for number in self._held if not self._set.knows(number)]:
            self._held.pop(number).close()
        shortest, longest = POLL_SECONDS
        self._pause = min(longest, max(shortest, 10 * (time.monotonic() - started)))

    async def _open(self, turn: FileTurn) -> bool:
        """Open a turn's file where it was left; without one, or with another, there is nothing to read now."""
        number, part = turn.number, turn.part
        with readable(part.path):
            try:
                file = self._held.pop(number, None) or OpenFile(turn.member.path, part.path)
            except FileNotFoundError:
                await self._look()  # says so, or finds it under another name
                return False
            self._held[number] = file
            status = file.status()
            if (status.st_dev, status.st_ino) != turn.member.inode or likeness(file, part) != "same":
                self._held.pop(number).close()
                await self._look()
                return False
            self._turn = turn
            self._reading = Reading(part, file, self._parser, self._head, whole=turn.whole)
        while len(self._held) > (HELD_FILES if self._follow else 1):
            self._held.popitem(last=False)[1].close()
        return True

    def _take(self, count: int) -> list[SourceItem]:
        """Items of the current file, noted in its part; none at its end."""
        reading, turn = self._reading, self._turn
        if reading is None or turn is None:
            return []
        with readable(turn.part.path):
            items = reading.take(count)
            changed = reading.note() if items else reading.end()
        if changed:
            self._set.note(turn.number)
        if items:
            place = {"file": turn.part.path, "offset": turn.part.offset, "line": turn.part.line}
            self._checkpoint = orjson.dumps(place).decode()
        # What is written faster than it is read must not keep the others waiting.
        if not items or (self._follow and not turn.member.packed and reading.offset >= turn.member.status.st_size):
            self._reading = self._turn = None
            if not self._follow or turn.member.packed:
                with suppress(KeyError):
                    self._held.pop(turn.number).close()
        return items

    def _portion(self, items: list[SourceItem], *, done: bool = False) -> Portion:
        return Portion(items, self._checkpoint, done=done, parts=self._set.changes())
