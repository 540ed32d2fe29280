"""One consistent look at streams, their groups and leases: what draining, status and plan decide by.

All of it comes from one script (`lua/positions.lua`) and thus from one point in time: between two commands a record
could move from a stream already looked at to one not yet looked at. It takes as long as there are groups, whatever
is in the streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError
from papyra_flow.streams.connection.client import Argument, Client
from papyra_flow.streams.scripts import call_script


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """A group: entries pending, and entries not delivered yet (`lag`).

    Where entries were deleted the server does not know a lag: then it is the stream's length, and not `exact`.
    """

    name: str
    consumers: int
    pending: int
    last_delivered: str
    lag: int
    read: int | None = None
    """Entries ever delivered, where the server knows it; for rates."""
    exact: bool = True

    @property
    def backlog(self) -> int:
        """All that the group has still to do."""
        return self.pending + self.lag


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """A stream; `kind` is what TYPE says of its key: `stream`, `none` or something foreign."""

    key: str
    kind: str
    length: int
    groups: dict[str, GroupPosition]

    def backlog(self, groups: Sequence[str]) -> int:
        """The backlog of the slowest of these groups; one that does not exist yet has the whole stream before it."""
        return max((self.groups[g].backlog if g in self.groups else self.length for g in groups), default=0)

    @property
    def added(self) -> int | None:
        """Entries ever added, where that follows from a group's figures; for rates."""
        if not self.groups:
            return self.length
        reads = [(0 if g.last_delivered == "0-0" else g.read, g) for g in self.groups.values() if g.exact]
        known = [read + group.lag for read, group in reads if read is not None]
        return max(known, default=None)


@dataclass(frozen=True, slots=True)
class LeasePosition:
    """A source's or sink's lease: who owns it, its checkpoint, whether it ended, records read in all, its epoch."""

    key: str
    owner: str
    checkpoint: str
    done: bool
    records: int
    epoch: int


@dataclass(frozen=True, slots=True)
class StreamsSnapshot:
    """Streams and leases, by key, at one point in time."""

    streams: dict[str, StreamPosition]
    leases: dict[str, LeasePosition]
    undelivered: tuple[str, str] | None = None
    """The first of the groups that were asked about (stream, group) that has an entry before it."""


async def look(
    client: Client, streams: Sequence[str], leases: Sequence[str] = (), *, undelivered: Sequence[tuple[str, str]] = ()
) -> StreamsSnapshot:
    """Look at all of these keys at once; keys that do not exist are there with the kind `none`.

    `undelivered` are groups (stream, group) of which one is wanted that has an entry before it which was not delivered:
    whatever the server thinks its lag is. That entry is copied on the server to see that it is there.
    """
    keys = [*streams, *leases]
    pairs: list[Argument] = []
    for key, group in undelivered:
        pairs += (streams.index(key) + 1, group)
    reply = await call_script(client, "positions", keys, [len(streams), *pairs])
    if not isinstance(reply, list) or len(reply) != len(keys) + 1:
        raise CommandRefusedError(f"the positions script answered {reply!r}")
    found = {key: _stream(key, *told) for key, told in zip(streams, reply, strict=False)}
    held = {
        key: LeasePosition(key, owner.decode(), checkpoint.decode(), done == b"1", int(records), int(epoch))
        for key, (owner, checkpoint, done, records, epoch) in zip(leases, reply[len(streams) : -1], strict=True)
    }
    return StreamsSnapshot(found, held, undelivered[reply[-1] - 1] if reply[-1] else None)


def _stream(
    key: str, kind: bytes, length: int, groups: Sequence[tuple[bytes, int, int, bytes, int, int]]
) -> StreamPosition:
    named = {}
    for name, consumers, pending, delivered, lag, read in groups:
        # After an XTRIM by hand a server may count entries that are gone: never more than there are.
        known = GroupPosition(
            name.decode(errors="replace"), consumers, pending, delivered.decode(),
            length if lag < 0 else min(lag, length), read if read >= 0 else None, exact=lag >= 0,
        )  # fmt: skip
        named[known.name] = known
    return StreamPosition(key, kind.decode(), length, named)
