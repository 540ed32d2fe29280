"""Streams and their groups as a server keeps them: entries, positions, pending entries, and what is known of a lag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.harness.memory.replies import Refused

Id: TypeAlias = tuple[int, int]
ZERO: Id = (0, 0)
LARGEST: Id = (2**64 - 1, 2**64 - 1)
_ENDS = {b"-": ZERO, b"+": LARGEST}


def read_id(text: bytes, *, missing: int = 0) -> Id:
    """An id's two numbers; raises Refused for what is none."""
    milliseconds, dash, sequence = text.partition(b"-")
    if not milliseconds.isdigit() or (dash and not sequence.isdigit()):
        raise Refused("ERR Invalid stream ID specified as stream command argument")
    return int(milliseconds), int(sequence) if dash else missing


def show_id(at: Id) -> bytes:
    """An id as it is written."""
    return b"%d-%d" % at


def read_bounds(start: bytes, end: bytes) -> tuple[Id, Id]:
    """A range's first and last id; `-`, `+` and `(` as in XRANGE."""
    return _bound(start, missing=0, step=1), _bound(end, missing=2**64 - 1, step=-1)


def _bound(text: bytes, *, missing: int, step: int) -> Id:
    if text in _ENDS:
        return _ENDS[text]
    if not text.startswith(b"("):
        return read_id(text, missing=missing)
    milliseconds, sequence = read_id(text[1:], missing=missing)
    return milliseconds, sequence + step


@dataclass(slots=True)
class Delivered:
    """A pending entry: whose it is, since when in milliseconds, and how often it was delivered."""

    consumer: bytes
    at: int
    times: int


@dataclass(slots=True)
class Group:
    """A consumer group: where it is, entries it has read if that is known, its consumers and what is pending."""

    last: Id
    read: int | None = None
    consumers: dict[bytes, int] = field(default_factory=dict)
    """When each was seen last."""
    pending: dict[Id, Delivered] = field(default_factory=dict)

    def in_order(self, start: Id = ZERO, end: Id = LARGEST) -> Iterator[tuple[Id, Delivered]]:
        """What is pending between two ids."""
        for at in sorted(self.pending):
            if start <= at <= end:
                yield at, self.pending[at]


@dataclass(slots=True)
class Stream:
    """A stream; entries are in the order of their ids, because they can only be added at the end."""

    entries: dict[Id, list[bytes]] = field(default_factory=dict)
    last: Id = ZERO
    added: int = 0
    deleted: Id = ZERO
    """The largest id that XDEL has deleted."""
    groups: dict[bytes, Group] = field(default_factory=dict)

    def add(self, at: Id, fields: list[bytes]) -> None:
        """Add an entry."""
        if not at > ZERO:
            raise Refused("ERR The ID specified in XADD must be greater than 0-0")
        if at <= self.last:
            raise Refused("ERR The ID specified in XADD is equal or smaller than the target stream top item")
        self.entries[at] = fields
        self.last, self.added = at, self.added + 1

    def between(self, start: Id, end: Id, count: int | None = None) -> list[tuple[Id, list[bytes]]]:
        """Entries between two ids, at most so many."""
        found = [(at, fields) for at, fields in self.entries.items() if start <= at <= end]
        return found if count is None else found[: max(0, count)]

    def deliver(self, group: Group, at: Id) -> None:
        """Move a group on to an entry."""
        if group.read is not None and not self._was_deleted_behind(at):
            group.read += 1
        else:
            group.read = self._distance(at)
        group.last = at

    def lag(self, group: Group) -> int | None:
        """Entries that the group has not read, None where the server does not know."""
        if not self.added:
            return 0
        read = group.read
        if read is None or self._was_deleted_behind(group.last):
            read = self._distance(group.last)
        return None if read is None else self.added - read

    @property
    def _first(self) -> Id:
        return next(iter(self.entries), ZERO)

    def _was_deleted_behind(self, at: Id) -> bool:
        """Whether an entry behind this one may have been deleted."""
        return bool(self.entries) and self.deleted > ZERO and at <= self.deleted

    def _distance(self, at: Id) -> int | None:
        """How many entries were added up to this one, if that follows from the stream's ends."""
        if not self.added:
            return 0
        if not self.entries and at <= self.last:
            return self.added
        if ZERO < at < self.deleted:
            return None
        if at >= self.last:
            return self.added if at == self.last else None
        if self.deleted == ZERO or self.deleted < self._first:
            if at < self._first:
                return self.added - len(self.entries)
            if at == self._first:
                return self.added - len(self.entries) + 1
        return None
