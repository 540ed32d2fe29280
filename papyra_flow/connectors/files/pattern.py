"""Which files a pattern names, in the order in which people count: part-2 before part-10.

Only the pattern is one; the folder that it is relative to has its name, whatever characters are in it. What does not
live here: what was read of a file before (`file_set`).
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from papyra_flow.connectors.files.open_file import is_packed, kind_of, not_a_file, readable

_DIGITS = re.compile(r"([0-9]+)")
_log = logging.getLogger("papyra_flow.source")


@dataclass(frozen=True, slots=True)
class Member:
    """A file that is there: its name as messages and checkpoints have it, and what it is."""

    name: str
    path: Path
    status: os.stat_result

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode."""
        return self.status.st_dev, self.status.st_ino

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return is_packed(self.path)

    @property
    def state(self) -> tuple[int, int, int, int]:
        """What changes when it does."""
        return *self.inode, self.status.st_size, self.status.st_mtime_ns


def natural(name: str) -> list[list[tuple[str, int]]]:
    """A sort key by which numbers in a path's components count as numbers."""
    return [
        [(text, 0) if place % 2 == 0 else ("", int(text)) for place, text in enumerate(_DIGITS.split(component))]
        for component in Path(name).parts
    ]


class FilePattern:
    """A path or a glob, relative to a folder."""

    def __init__(self, pattern: str, folder: Path) -> None:
        self.text = pattern
        self.folder = folder
        self._told: set[str] = set()

    def members(self) -> list[Member]:
        """The files that are there, each once; raises ConnectorError for one that is named and cannot be read."""
        found: list[Member] = []
        seen: dict[tuple[int, int], str] = {}
        for name in self._names():
            if (member := self.member(name)) is None:
                continue
            if member.inode in seen:
                self._tell_once(logging.INFO, name, f"{name} is the same file as {seen[member.inode]}: read once")
                continue
            seen[member.inode] = member.name
            found.append(member)
        return found

    def member(self, name: str) -> Member | None:
        """The file of that name, None if there is none."""
        path = self.folder / name
        try:
            with readable(shown(name)):
                status = path.stat()
        except Exception as exc:
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno in {errno.ENOENT, errno.ENOTDIR}:
                return None
            raise
        if (kind := kind_of(status)) is None:
            return Member(shown(name), path, status)
        if self._literal:
            raise not_a_file(shown(name), kind)
        level = logging.DEBUG if self.text.endswith("**") else logging.WARNING
        self._tell_once(level, name, f"{shown(name)} is {kind}, not a file: skipped")
        return None

    @property
    def _literal(self) -> bool:
        return not glob.has_magic(self.text) or os.path.lexists(self.folder / self.text)

    def _names(self) -> list[str]:
        if self._literal:
            return [os.path.normpath(self.text)]
        found = glob.glob(self.text, root_dir=self.folder, recursive=True)  # noqa: PTH207 - absolute patterns, too
        return sorted({os.path.normpath(name) for name in found}, key=lambda name: (natural(name), name))

    def _tell_once(self, level: int, name: str, text: str) -> None:
        if name not in self._told:
            self._told.add(name)
            _log.log(level, "%s", text)


def shown(name: str) -> str:
    """A name as text, also where its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
