"""An append-only file, its commands, and the places where a crash may have cut it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Logged:
    """A command in the file: where it begins, where it ends, and its name."""

    begin: int
    end: int
    name: str


def log_of(folder: Path) -> Path:
    """The file that a server in this folder appends to."""
    return max(folder.rglob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))


def commands(data: bytes) -> Iterator[Logged]:
    """All commands of the file (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    at = 0
    while at < len(data):
        begin, words = at, []
        if data[at : at + 1] == b"#":  # a time
            at = data.index(b"\r\n", at) + 2
            continue
        line = data.index(b"\r\n", at)
        for _ in range(int(data[at + 1 : line])):
            at = line + 2
            line = data.index(b"\r\n", at)
            size = int(data[at + 1 : line])
            words.append(data[line + 2 : line + 2 + size])
            line += 2 + size
        at = line + 2
        yield Logged(begin, at, words[0].decode().upper())


def last_commit(data: bytes) -> list[Logged]:
    """The last MULTI ... EXEC that acks, command by command."""
    found: list[Logged] = []
    current: list[Logged] = []
    for command in commands(data):
        current = [command] if command.name == "MULTI" else [*current, command]
        if command.name == "EXEC" and any(c.name == "XACK" for c in current):
            found = current
    return found


def places(data: bytes) -> dict[str, int]:
    """Places of every kind in the last commit, by name."""
    commit = last_commit(data)
    middle = len(commit) // 2
    multi, inner, behind, final = commit[0], commit[middle], commit[middle + 1], commit[-1]
    return {
        "before the commit": multi.begin,
        "inside MULTI": multi.begin + 4,
        "behind MULTI": multi.end,
        "inside a command": (inner.begin + inner.end) // 2,
        "between two commands": inner.end,
        "inside the next command": behind.begin + 2,
        "before EXEC": final.begin,
        "inside EXEC": final.end - 3,
        "behind EXEC": final.end,
    }


def cut(folder: Path, place: int) -> None:
    """Cut the file there."""
    with log_of(folder).open("r+b") as file:
        file.truncate(place)
