"""The floor: a bare socket and hiredis, the same script, the next batch on its way while this one is worked on.

Nothing here is slowed down for the comparison's sake: no event loop, no reconnecting, no failures looked at.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeAlias

import hiredis
import orjson

from papyra_flow.streams.scripts import source_of

Record: TypeAlias = dict[str, Any]
Argument: TypeAlias = str | bytes | int

BATCH = 500


class Bare:
    """A connection: `send` a command, `receive` a reply."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._replies = hiredis.Reader()
        text, self._sha = source_of("commit")
        self.call("SCRIPT", "LOAD", text)

    def send(self, *arguments: Argument) -> None:
        """Send a command."""
        self._socket.sendall(hiredis.pack_command(arguments))  # type: ignore[arg-type]

    def receive(self) -> Any:
        """The next reply."""
        replies = self._replies
        while (reply := replies.gets()) is False:
            replies.feed(self._socket.recv(1 << 18))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def call(self, *arguments: Argument) -> Any:
        """Send a command and wait for its reply."""
        self.send(*arguments)
        return self.receive()

    def commit_head(self, source: str, target: str, group: str) -> tuple[Argument, ...]:
        """The beginning of a commit from stream to stream; how many entries, and they, come behind it."""
        keys = (source, "{b}:@probe", "{b}:@probe", target, "{b}:@probe", "{b}:@ledger")
        return ("EVALSHA", self._sha, len(keys), *keys, group, "c", "", "", "", "", 0, 0)


def hop(path: str, source: str, target: str, group: str, records: int, step: Callable[[Record], Record]) -> None:
    """Take so many records from stream to stream: read, decode, call, encode, commit."""
    bare = Bare(path)
    read: tuple[Argument, ...] = (
        "XREADGROUP", "GROUP", group, "c", "COUNT", BATCH, "BLOCK", 1000, "STREAMS", source, ">",
    )  # fmt: skip
    head = bare.commit_head(source, target, group)
    bare.send(*read)
    entries = _entries(bare)
    done = 0
    while done < records:
        done += len(entries)
        if done < records:
            bare.send(*read)
        arguments: list[Argument] = [len(entries)]
        for id_, fields in entries:
            arguments += (id_, b"4", orjson.dumps(step(orjson.loads(fields[1]))))
        bare.send(*head, *arguments)
        following = _entries(bare) if done < records else []
        if bare.receive()[0] != len(entries):
            raise RuntimeError("the floor lost entries")
        entries = following


def _entries(bare: Bare) -> list[Any]:
    while (reply := bare.receive()) is None:
        raise RuntimeError("the floor ran dry")
    entries: list[Any] = reply[0][1]
    return entries
