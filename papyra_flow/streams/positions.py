"""One consistent look at streams, their groups and leases: what draining, status and plan decide by.

All of it comes from one script (`lua/positions.lua`) and thus from one moment: between two commands a record
could move from a stream already looked at to one not yet looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError
from papyra_flow.streams.scripts import call_script
from papyra_flow.streams.wire import Wire

COUNT_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """A group: entries pending, and entries not delivered yet (`lag`, counted where the server does not know it)."""

    name: str
    consumers: int
    pending: int
    last_delivered: str
    lag: int
    read: int = 0
    """Entries ever delivered, as far as the server knows; for rates."""

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
    first_id: str
    last_id: str
    last_generated: str
    groups: dict[str, GroupPosition]
    added: int = 0
    """Entries ever added; for rates."""

    def backlog(self, groups: Sequence[str]) -> int:
        """The backlog of the slowest of these groups; one that does not exist yet has the whole stream before it."""
        return max((self.groups[g].backlog if g in self.groups else self.length for g in groups), default=0)


@dataclass(frozen=True, slots=True)
class LeasePosition:
    """A source's or sink's lease: who owns it, its checkpoint, whether it ended, records read in all."""

    key: str
    owner: str
    checkpoint: str
    done: bool
    records: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Streams and leases, by key, at one moment."""

    streams: dict[str, StreamPosition]
    leases: dict[str, LeasePosition]


async def look(wire: Wire, streams: Sequence[str], leases: Sequence[str] = ()) -> Positions:
    """Look at all of these keys at once; keys that do not exist are there with the kind `none`."""
    keys = [*streams, *leases]
    reply = await call_script(wire, "positions", keys, [len(streams), COUNT_AT_MOST])
    if not isinstance(reply, list) or len(reply) != len(keys):
        raise CommandRefusedError(f"the positions script answered {reply!r}")
    found = {}
    for key, (kind, length, first, last, generated, groups, added) in zip(streams, reply, strict=False):
        named = {
            name.decode(errors="replace"): GroupPosition(
                name.decode(errors="replace"), consumers, pending, delivered.decode(), lag, read
            )
            for name, consumers, pending, delivered, lag, read in groups
        }
        found[key] = StreamPosition(
            key, kind.decode(), length, first.decode(), last.decode(), generated.decode(), named, added
        )
    held = {
        key: LeasePosition(key, owner.decode(), checkpoint.decode(), done == b"1", int(records))
        for key, (owner, checkpoint, done, records) in zip(leases, reply[len(streams) :], strict=True)
    }
    return Positions(found, held)
