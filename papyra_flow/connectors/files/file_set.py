"""Which file is which: the files that a pattern names now, against what is remembered of those that were read.

A file keeps its part under whatever name it is found, as long as it holds what was read of it: first by device and
inode, then under its path, then among its neighbours, where rotation puts it. A part whose file is found nowhere is
gone; what has taken its path is a file of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from papyra_flow.connectors.files.open_file import OpenFile, is_packed, kind_of, readable
from papyra_flow.connectors.files.part import FilePart, Likeness, decode_part, likeness
from papyra_flow.connectors.files.pattern import FilePattern, Member, shown

SETTLED_SECONDS = 5.0
"""A file that was renamed and did not grow for as long is written no more: its last line is as whole as it will be."""
GONE_KEPT = 1000
"""Deleted files that are remembered, in case they come back."""
_log = logging.getLogger("papyra_flow.source")


@dataclass(frozen=True, slots=True)
class FileTurn:
    """A part that has something to read; `whole` says that a last line without an end is to be sent, too."""

    number: int
    part: FilePart
    member: Member
    whole: bool


class FileSet:
    """The files of one source and their parts; `look`, read the turns, and `note` what was read."""

    def __init__(self, pattern: FilePattern, *, follow: bool) -> None:
        self._pattern = pattern
        self._follow = follow
        self._parts: dict[int, FilePart] = {}
        self._changed: set[int] = set()
        self._same: dict[int, tuple[int, int, int, int]] = {}
        """The states in which files were found to be those that were read."""
        self._seen: dict[int, int] = {}
        """Sizes of files when they were looked at last."""
        self._unlike: dict[int, Likeness] = {}
        self._settling: dict[int, tuple[int, float]] = {}
        self._next = 1
        self.members: list[Member] = []

    def restore(self, states: Mapping[str, str]) -> None:
        """Take up what was remembered."""
        self._parts = {int(name): decode_part(state) for name, state in states.items()}
        self._next = max(self._parts, default=0) + 1

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self._parts

    def add(self, part: FilePart) -> int:
        """Remember another file."""
        number, self._next = self._next, self._next + 1
        self._parts[number] = part
        return number

    def knows(self, number: int) -> bool:
        """Whether a part is of a file that is still there."""
        return number in self._parts and not self._parts[number].gone

    def note(self, number: int) -> None:
        """A part has changed."""
        self._changed.add(number)

    def changes(self) -> dict[str, str]:
        """The states of the parts that changed since this was asked last; '' for those that are forgotten."""
        changed, self._changed = sorted(self._changed), set()
        return {str(n): self._parts[n].encode() if n in self._parts else "" for n in changed}

    def look(self, held: Mapping[int, OpenFile]) -> list[FileTurn]:
        """Look at the files that are there; returns those with something to read, in order.

        `held` are files that are open, and so are still there when they were deleted. Raises ConnectorError.
        """
        self.members = self._pattern.members()
        places, strangers = self._match(self.members)
        ours = [n for n, part in self._parts.items() if part.pattern == self._pattern.text and not part.gone]
        moved = self._find_moved([n for n in ours if n not in places], places, strangers, held)
        for number in ours:
            if number not in places and number not in moved:
                self._lose(number, next((m for m in strangers if m.name == self._parts[number].path), None))
        for number, member in (places | moved).items():
            self._place(number, member, moved=number in moved)
        for member in strangers:
            number = self.add(FilePart(member.name, self._pattern.text, *member.inode))
            places[number] = member
            self._seen[number] = member.status.st_size
        self._forget_gone()
        order = {number: place for place, number in enumerate(places)}  # known ones come before strangers
        turns = [turn for n, m in (moved | places).items() if (turn := self._turn(n, m, n in moved)) is not None]
        return sorted(turns, key=lambda turn: (order.get(turn.number, -1), turn.number))

    # -- which is which -----------------------------------------------------------------------------------------------

    def _match(self, members: Iterable[Member]) -> tuple[dict[int, Member], list[Member]]:
        """The members that are known, by inode or else by path; and those that are not."""
        by_inode = {(part.device, part.inode): number for number, part in self._parts.items()}
        by_path = {part.path: number for number, part in self._parts.items()}
        places: dict[int, Member] = {}
        strangers: list[Member] = []
        rest = []
        for member in members:
            number = by_inode.get(member.inode)
            if number is not None and self._is(number, member):
                places[number] = member
            else:
                rest.append(member)
        for member in rest:
            number = by_path.get(member.name)
            if number is not None and number not in places and self._is(number, member):
                places[number] = member
            else:
                strangers.append(member)
        return places, strangers

    def _find_moved(
        self,
        missing: Iterable[int],
        places: Mapping[int, Member],
        strangers: list[Member],
        held: Mapping[int, OpenFile],
    ) -> dict[int, Member]:
        """Where files are that the pattern does not name any more; takes them from the strangers."""
        found: dict[int, Member] = {}
        for number in missing:
            part, taken = self._parts[number], {member.inode for member in (*places.values(), *found.values())}
            member = next((m for m in self._neighbours(part) if m.inode not in taken and self._is(number, m)), None)
            if member is None and number in held and likeness(held[number], part) == "same":
                member = Member(part.path, held[number].path, held[number].status())
                if self._settled(number, member) and part.offset >= member.status.st_size:
                    continue  # deleted, read to its end, and written no more
            if member is not None:
                found[number] = member
                strangers[:] = [stranger for stranger in strangers if stranger.inode != member.inode]
        return found

    def _neighbours(self, part: FilePart) -> Iterable[Member]:
        """What a part's file may be now: what has its inode, and copies under longer names."""
        folder, name = Path(part.path).parent, Path(part.path).name
        try:
            others = [str(folder / other.name) for other in (self._pattern.folder / folder).iterdir()]
            there = [member for other in others if (member := self._at(other)) is not None]
        except OSError:
            return
        yield from (m for m in there if m.inode == (part.device, part.inode))
        if part.started:
            yield from (m for m in there if m.path.name != name and m.path.name.startswith(name))

    def _at(self, name: str) -> Member | None:
        """The file at a path, None if there is none."""
        path = self._pattern.folder / name
        try:
            status = path.stat()
        except OSError:
            return None
        return Member(shown(name), path, status) if kind_of(status) is None else None

    def _is(self, number: int, member: Member) -> bool:
        """Whether a file is the part's: it holds what was read of it."""
        part = self._parts[number]
        if self._same.get(number) == member.state:
            return True
        if not part.started:
            return True
        elsewhere = member.name != part.path
        touched = member.status.st_size == part.size and member.status.st_mtime_ns != part.modified
        if elsewhere and touched and member.inode == (part.device, part.inode):
            # An inode that was given to another file with the same text is not a file that was renamed.
            _log.warning("%s holds what was read of %s, but was written later: it is read as another file",
                         member.name, part.path)  # fmt: skip
            return False
        with readable(member.name):
            try:
                file = OpenFile(member.path, member.name)
            except FileNotFoundError:
                return False
            try:
                found = likeness(file, part)
            finally:
                file.close()
        if found == "same":
            self._same[number] = member.state
            self._unlike.pop(number, None)
            return True
        self._unlike[number] = found
        return False

    # -- what follows from it -----------------------------------------------------------------------------------------

    def _place(self, number: int, member: Member, *, moved: bool) -> None:
        """A part's file is there."""
        part, before = self._parts[number], self._parts[number].encode()
        if part.path != member.name:
            level = logging.INFO if self._follow or not moved else logging.WARNING
            told = "%s is %s now: what was read of it, up to line %d, is not read again"
            _log.log(level if part.started else logging.DEBUG, told, part.path, member.name, part.line)
            part.moved = True
        part.path, part.pattern, part.gone = member.name, self._pattern.text, False
        part.device, part.inode = member.inode
        self._seen[number] = member.status.st_size
        if part.started and part.encode() != before:
            self.note(number)

    def _lose(self, number: int, successor: Member | None) -> None:
        """A part's file is nowhere, or what was read of it is not in it any more."""
        part = self._parts[number]
        self._same.pop(number, None)
        size = max(part.size, 0 if is_packed(Path(part.path)) else self._seen.pop(number, 0))
        rest = f"at least {size - part.offset:,} bytes" if size > part.offset else "perhaps nothing"
        if successor is None:
            if size > part.offset or (part.started and part.size < 0):
                _log.warning("%s is gone; it was read up to line %d, %s after it", part.path, part.line, rest)
            part.gone = True
        elif part.started:
            self._tell_replaced(part, successor, self._unlike.pop(number, "other"), rest)
        if successor is not None or not part.started:
            del self._parts[number]
        self.note(number)

    def _tell_replaced(self, part: FilePart, successor: Member, unlike: Likeness, rest: str) -> None:
        name, again = part.path, "reading it from its beginning"
        same_file = successor.inode == (part.device, part.inode)
        if self._follow and same_file:
            _log.info("%s was truncated or rewritten: %s", name, again)
        elif self._follow:
            _log.warning(
                "%s is a new file, and its predecessor was not found: what was written to that after line %d is "
                "missed (%s)", name, part.line, rest,
            )  # fmt: skip
        elif same_file and unlike == "shorter":
            _log.warning(
                "%s is shorter than what was read of it (%d bytes, line %d): %s, so lines that were kept in it are "
                "sent again", name, part.offset, part.line, again,
            )  # fmt: skip
        else:
            _log.warning("%s is not the file that was read up to line %d: %s", name, part.line, again)

    def _turn(self, number: int, member: Member, moved: bool) -> FileTurn | None:
        """A turn for the part, if it has something to read."""
        part, size = self._parts[number], member.status.st_size
        if member.packed:
            unread = (size, member.status.st_mtime_ns) != (part.size, part.modified)
            return FileTurn(number, part, member, whole=True) if unread else None
        if size <= part.offset:
            return None
        if not self._follow:
            return FileTurn(number, part, member, whole=True)
        settled = (moved or part.moved) and self._settled(number, member)
        if size == part.size and not settled:
            return None  # the rest is a line that is still being written
        return FileTurn(number, part, member, whole=settled)

    def _settled(self, number: int, member: Member) -> bool:
        """Whether a file has not grown for a while."""
        now, size = time.monotonic(), member.status.st_size
        known = self._settling.get(number)
        if known is None or known[0] != size:
            self._settling[number] = size, now
            return False
        return now - known[1] >= SETTLED_SECONDS

    def _forget_gone(self) -> None:
        gone = [number for number, part in self._parts.items() if part.gone]
        for number in gone[: max(0, len(gone) - GONE_KEPT)]:
            del self._parts[number]
            self.note(number)
