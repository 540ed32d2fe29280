"""Removing a group from a stream, or a consumer from a group: what would be lost by it first, and then doing it.

XGROUP DESTROY (https://redis.io/docs/latest/commands/xgroup-destroy/) forgets where a group was. XGROUP DELCONSUMER
(https://redis.io/docs/latest/commands/xgroup-delconsumer/) throws away what is pending for a consumer, so that is taken
from it before; the group's other consumers then take it over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError, UsageError
from papyra_flow.streams.admin.repair import PORTION, Membership, pending_of
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.claims import given_back_ms
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.lifecycle import consumers_of, delete_consumer
from papyra_flow.streams.groups.snapshot import GroupPosition, StreamPosition, look

TRIES = 10
"""Attempts to take entries from a consumer that keeps reading, before giving up."""

TAKER = "dropped"
"""The consumer that has a dropped one's entries until they are claimed; it goes like any that is silent."""


async def groups_there(client: Client, members: Sequence[Membership]) -> list[GroupPosition]:
    """The group as it is on each of these streams that has it, its lag counted; UsageError where none does."""
    positions = await counted(client, await look(client, [member.key for member in members]), once=True)
    found = [
        positions.streams[member.key].groups[member.group]
        for member in members
        if member.group in positions.streams[member.key].groups
    ]
    if not found:
        raise UsageError(_why_not(positions.streams[members[0].key], members[0].group))
    return found


def _why_not(stream: StreamPosition, group: str) -> str:
    if stream.kind != "stream":
        what = "is not there" if stream.kind == "none" else f"holds a {stream.kind}, not a stream"
        return f"{stream.key} {what}"
    known = ", ".join(stream.groups) or "none"
    return f"group {group!r} does not exist on {stream.key}; known groups: {known}"


async def drop_group(client: Client, member: Membership) -> bool:
    """XGROUP DESTROY; whether there was one."""
    return await client.call("XGROUP", "DESTROY", member.key, member.group) == 1


@dataclass(frozen=True, slots=True)
class ConsumerThere:
    """A consumer of a group: entries pending for it, and seconds since it last asked for something."""

    member: Membership
    pending: int
    idle: float


async def consumer_there(client: Client, members: Sequence[Membership], consumer: str) -> list[ConsumerThere]:
    """The consumer in each of these groups that has it; raises UsageError where none does."""
    found, known = [], set()
    for member in members:
        for one in await consumers_of(client, member.key, member.group):
            known.add(one.name)
            if one.name == consumer:
                found.append(ConsumerThere(member, one.pending, one.idle))
    if not found:
        told = ", ".join(sorted(known)) or "none"
        raise UsageError(f"consumer {consumer!r} does not exist; known consumers: {told}")
    return found


async def drop_consumer(
    client: Client, member: Membership, consumer: str, *, to: str | None = None, claim_after: float = 0.0
) -> int:
    """Take from a consumer what is pending for it, and remove it; returns how many entries were taken.

    They go to the consumer `to`, or are free for whichever claims next; their delivery counts stay. Raises
    CommandRefusedError for one that keeps reading.
    """
    taken, taker = 0, to or (TAKER if consumer != TAKER else f"{TAKER}-{TAKER}")
    idle = 0 if to else given_back_ms(claim_after)
    for _ in range(TRIES):
        while found := await pending_of(client, member, count=PORTION, consumer=consumer):
            ids = [entry.id for entry in found]
            reply = await client.call("XCLAIM", member.key, member.group, taker, 0, *ids, "IDLE", idle, "JUSTID")
            taken += len(reply) if isinstance(reply, list) else 0
        if await delete_consumer(client, member.key, member.group, consumer):
            return taken
    raise CommandRefusedError(f"the consumer {consumer!r} keeps reading: stop its worker first")
