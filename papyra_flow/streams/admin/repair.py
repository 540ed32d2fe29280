"""What an operator does to a stream or group by hand, and what would be lost by it.

XPENDING, XCLAIM, XACK, XDEL, XTRIM and XGROUP SETID with their consequences counted first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError, GroupGoneError
from papyra_flow.records.entries import id_after, parse_id
from papyra_flow.streams.connection.client import Client, Reply
from papyra_flow.streams.groups.claims import Claimer, Pending, given_back_ms
from papyra_flow.streams.groups.snapshot import StreamPosition, look

PORTION = 500


@dataclass(frozen=True, slots=True)
class Membership:
    """A group on a stream."""

    key: str
    group: str


async def pending_of(
    client: Client, member: Membership, *, count: int, consumer: str = "", idle: float = 0.0
) -> list[Pending]:
    """Pending entries in order, of all consumers or one, idle for at least `idle` seconds.

    Empty if the group does not exist.
    """
    claimer = Claimer(client, key=member.key, group=member.group, consumer=consumer)
    found: list[Pending] = []
    start = "-"
    while len(found) < count:
        try:
            page = await claimer.pending(min(PORTION, count - len(found)), consumer=consumer, start=start, idle=idle)
        except GroupGoneError:
            break
        if not page:
            break
        found += page
        start = "(" + page[-1].id.decode()
    return found


async def pending_among(client: Client, member: Membership, ids: Sequence[str]) -> list[Pending]:
    """Those of these ids that are pending."""
    replies = await client.call_many([("XPENDING", member.key, member.group, id_, id_, 1) for id_ in ids])
    found = []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, list) and reply:
            id_, owner, idle, times = reply[0]
            found.append(Pending(id_, owner.decode(errors="replace"), idle / 1000, times))
    return found


async def hand_over(
    client: Client, member: Membership, entries: Sequence[Pending], *, claim_after: float, to: str | None = None
) -> int:
    """Give entries to a consumer, or release them for the next consumer to claim; delivery counts stay (XCLAIM JUSTID).

    Those that have been idle for the claim time are free already, and keep their age.
    """
    by_owner: dict[str, list[bytes]] = defaultdict(list)
    given = 0
    for entry in entries:
        if to is None and entry.idle > claim_after:
            given += 1
        else:
            by_owner[to or entry.consumer].append(entry.id)
    for owner, ids in by_owner.items():
        idle = 0 if to else given_back_ms(claim_after)
        for start in range(0, len(ids), PORTION):
            part = ids[start : start + PORTION]
            given += _length(
                await client.call("XCLAIM", member.key, member.group, owner, 0, *part, "IDLE", idle, "JUSTID")
            )
    return given


async def missing_groups(client: Client, members: Sequence[Membership]) -> list[Membership]:
    """Those of these groups that are not there."""
    positions = await look(client, list({member.key: None for member in members}))
    return [member for member in members if member.group not in positions.streams[member.key].groups]


async def acknowledge(client: Client, member: Membership, ids: Sequence[bytes]) -> int:
    """XACK by hand: the group will never process these entries."""
    return _number(await client.call("XACK", member.key, member.group, *ids)) if ids else 0


async def unacked_among(client: Client, key: str, ids: Sequence[str]) -> dict[str, int]:
    """For each group, how many of these ids it has not acked: pending, or not delivered to it yet."""
    position = await _stream(client, key)
    counts: dict[str, int] = {}
    for name, group in position.groups.items():
        ahead = [id_ for id_ in ids if parse_id(id_) > parse_id(group.last_delivered)]
        there = await client.call_many([("XRANGE", key, id_, id_) for id_ in ahead])
        undelivered = sum(bool(reply) for reply in there)
        counts[name] = undelivered + len(await pending_among(client, Membership(key, name), ids))
    return {name: count for name, count in counts.items() if count}


async def delete(client: Client, key: str, ids: Sequence[str]) -> int:
    """XDEL."""
    return _number(await client.call("XDEL", key, *ids))


async def unacked_before(client: Client, key: str, id_: str) -> dict[str, int]:
    """For each group, how many entries with a smaller id it has not acked."""
    position = await _stream(client, key)
    counts: dict[str, int] = {}
    for name, group in position.groups.items():
        member = Membership(key, name)
        waiting = [p for p in await pending_of(client, member, count=1_000_000) if parse_id(p.id) < parse_id(id_)]
        ahead = 0
        if parse_id(group.last_delivered) < parse_id(id_):
            ahead = await count_between(client, key, f"({group.last_delivered}", f"({id_}")
        counts[name] = len(waiting) + ahead
    return {name: count for name, count in counts.items() if count}


async def trim_before(client: Client, key: str, id_: str) -> int:
    """XTRIM MINID: everything with a smaller id goes, acked or not."""
    return _number(await client.call("XTRIM", key, "MINID", "=", id_))


async def id_at_length(client: Client, key: str, length: int) -> str | None:
    """The first of the newest `length` entries; None if there are no more than that."""
    position = await _stream(client, key)
    if position.length <= length:
        return None
    if length == 0:
        return id_after(await last_generated(client, key))
    reply = await client.call("XREVRANGE", key, "+", "-", "COUNT", length)
    return reply[-1][0].decode() if isinstance(reply, list) else None


@dataclass(frozen=True, slots=True)
class Move:
    """What moving a group to another place means: entries that come again, and entries that are skipped."""

    member: Membership
    at: str
    to: str
    again: int
    skipped: int
    pending: int


async def weigh_move(client: Client, member: Membership, to: str) -> Move:
    """What would happen; raises CommandRefusedError if the group is not there."""
    position = await _stream(client, member.key)
    group = position.groups.get(member.group)
    if group is None:
        raise CommandRefusedError(f"group {member.group!r} does not exist on {member.key}")
    at, target = group.last_delivered, await last_generated(client, member.key) if to == "$" else to
    again = skipped = 0
    if parse_id(target) < parse_id(at):
        again = await count_between(client, member.key, f"({target}", at)
    else:
        skipped = await count_between(client, member.key, f"({at}", target)
    return Move(member, at, target, again, skipped, group.pending)


async def move(client: Client, member: Membership, to: str) -> None:
    """XGROUP SETID (https://redis.io/docs/latest/commands/xgroup-setid/)."""
    await client.call("XGROUP", "SETID", member.key, member.group, to)


async def count_between(client: Client, key: str, start: str, end: str) -> int:
    """How many entries there are between two ids, page by page."""
    counted = 0
    while True:
        reply = await client.call("XRANGE", key, start, end, "COUNT", 1000)
        if not isinstance(reply, list) or not reply:
            return counted
        counted += len(reply)
        start = "(" + reply[-1][0].decode()


async def last_generated(client: Client, key: str) -> str:
    """The id that the stream's last entry had, be it there or not (XINFO STREAM)."""
    reply = await client.call("XINFO", "STREAM", key)
    facts = dict(zip(reply[::2], reply[1::2], strict=False)) if isinstance(reply, list) else {}
    return bytes(facts.get(b"last-generated-id", b"0-0")).decode()


async def _stream(client: Client, key: str) -> StreamPosition:
    position = (await look(client, [key])).streams[key]
    if position.kind != "stream":
        what = "is not there" if position.kind == "none" else f"holds a {position.kind}, not a stream"
        raise CommandRefusedError(f"{key} {what}")
    return position


def _length(reply: Reply) -> int:
    return len(reply) if isinstance(reply, list) else 0


def _number(reply: Reply) -> int:
    return reply if isinstance(reply, int) else 0
