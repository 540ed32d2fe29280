"""How far a sink has written a file, and which file that was: what its checkpoint says.

A length alone belongs to any file. A checkpoint also names the path, the inode, and what the file begins and ends with
up to there, so that a file put in its place is not taken for it. `owner` and `turn` tell what this stage wrote from
what others did (`sink_journal`): a stage has one owner while its lease lives, and a turn for each file it begins.
"""

from __future__ import annotations

import os
import secrets
import zlib
from dataclasses import dataclass
from typing import Any

import orjson

EDGE = 4096
"""Bytes at the beginning of a file, and before a mark, that a file is known by."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file: how many bytes are before it, and the first and the last of them."""

    at: int = 0
    head: bytes = b""
    tail: bytes = b""

    @classmethod
    def read(cls, descriptor: int, at: int) -> Mark | None:
        """The mark at a place of an open file; None if the file ends before."""
        edge = min(at, EDGE)
        head, tail = os.pread(descriptor, edge, 0), os.pread(descriptor, edge, at - edge)
        return cls(at, head, tail) if len(head) == len(tail) == edge else None

    def after(self, data: bytes) -> Mark:
        """The mark behind what is appended here."""
        head = self.head if len(self.head) == EDGE else (self.head + data[:EDGE])[:EDGE]
        tail = data[-EDGE:] if len(data) >= EDGE else (self.tail + data)[-EDGE:]
        return Mark(self.at + len(data), head, tail)

    @property
    def fingerprint(self) -> str:
        """What tells this place of this file from the same place of another."""
        return f"{zlib.crc32(self.head):08x}{zlib.crc32(self.tail):08x}"

    @property
    def within_line(self) -> bool:
        """Whether the last line has no end: then it was not written by a sink of papyra-flow."""
        return bool(self.at) and not self.tail.endswith(b"\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A sink's checkpoint: the file's path as the pipeline writes it, its inode, and a mark in it."""

    path: str
    file: tuple[int, int]
    at: int
    fingerprint: str
    """Empty where an older version kept the length alone."""
    owner: str
    turn: int
    begun: int = 0
    """How long the file was when this turn began: up to there others wrote it."""

    def __str__(self) -> str:
        facts = {"path": self.path, "file": self.file, "begun": self.begun, "at": self.at, "print": self.fingerprint}
        return orjson.dumps({**facts, "owner": self.owner, "turn": self.turn}).decode()

    @classmethod
    def parse(cls, text: str, path: str) -> Checkpoint | None:
        """A checkpoint as the lease keeps it; None for none, or for one of another kind of sink."""
        if text.isdecimal():
            return cls(path, (0, 0), int(text), "", new_owner(), 0)
        try:
            facts: Any = orjson.loads(text)
            path, (device, inode), at, begun = facts["path"], facts["file"], facts["at"], facts["begun"]
            return cls(path, (device, inode), at, facts["print"], facts["owner"], facts["turn"], begun)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None

    def fits(self, descriptor: int) -> bool:
        """Whether an open file is the one that was written: it has what was committed, at its place."""
        mark = Mark.read(descriptor, self.at)
        if mark is None:
            return False
        if not self.fingerprint:
            return self.path.endswith(".gz") or not mark.within_line
        return mark.fingerprint == self.fingerprint


def new_owner() -> str:
    """A name that no other lease has."""
    return secrets.token_hex(8)
