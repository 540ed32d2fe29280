"""What operators do to groups by hand: intended losses are written off in the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TypeVar

from papyra_flow.spec.models import Settings
from papyra_flow.streams.admin import repair
from papyra_flow.streams.admin.repair import Membership, Move, hand_over
from papyra_flow.streams.commit import ledger
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Pending
from papyra_flow.streams.groups.lifecycle import GroupSpec
from papyra_flow.topology.model import Topology

T = TypeVar("T")


async def move(server: Server, topology: Topology, member: Membership, moving: Awaitable[T]) -> T:
    """Move a group on purpose; a group that is not the pipeline's own is not audited."""
    groups = [GroupSpec(member.key, member.group)] if member in readers(topology, member.key) else []
    return await ledger.move(server.client, topology.keys.ledger, groups, moving)


async def move_all(server: Server, topology: Topology, moves: Iterable[Move]) -> None:
    """Move groups to where their moves say."""
    for one in moves:
        await move(server, topology, one.member, repair.move(server.client, one.member, one.to))


async def write_off(server: Server, topology: Topology, key: str, losing: Mapping[str, int], taking: Awaitable[T]) -> T:
    """Take entries of a stream that its groups have not processed, with how many by each group's name, on purpose."""
    taken = {GroupSpec(key, member.group): losing.get(member.group, 0) for member in readers(topology, key)}
    return await ledger.write_off(server.client, topology.keys.ledger, taken, taking)


def readers(topology: Topology, key: str) -> list[Membership]:
    """The pipeline's own groups on a stream."""
    stages, streams = topology.stages, topology.streams.values()
    return [Membership(key, stages[name].group) for stream in streams if stream.key == key for name in stream.readers]


async def hand_over_all(
    server: Server, topology: Topology, chosen: list[tuple[Membership, list[Pending]]], to: str | None
) -> int:
    """Give pending entries to a consumer, or release them to the next consumer to claim; returns how many."""
    claim_after = {stage.group: stage.settings.claim_after for stage in topology.stages.values()}
    given = 0
    for member, entries in chosen:
        limit = claim_after.get(member.group, Settings().claim_after)
        given += await hand_over(server.client, member, entries, to=to, claim_after=limit)
    return given
