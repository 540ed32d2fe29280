"""What verbs that repair a group have to know of it, and to tell: its claim time, and losses that are no accident."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.repair import Membership
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.streams.groups.claims import Pending

T = TypeVar("T")


async def move(server: Server, found: Session, member: Membership, moving: Awaitable[T]) -> T:
    """Move a group on purpose; a group that is not the pipeline's own is not audited."""
    from papyra_flow.streams.commit import ledger
    from papyra_flow.streams.groups.lifecycle import GroupSpec

    groups = [GroupSpec(member.key, member.group)] if member in readers(found, member.key) else []
    return await ledger.move(server.client, found.topology.keys.ledger, groups, moving)


async def write_off(server: Server, found: Session, key: str, losing: Mapping[str, int], taking: Awaitable[T]) -> T:
    """Take entries of a stream that its groups have not processed, so many by each group's name, on purpose."""
    from papyra_flow.streams.commit import ledger
    from papyra_flow.streams.groups.lifecycle import GroupSpec

    taken = {GroupSpec(key, member.group): losing.get(member.group, 0) for member in readers(found, key)}
    return await ledger.write_off(server.client, found.topology.keys.ledger, taken, taking)


def readers(found: Session, key: str) -> list[Membership]:
    """The pipeline's own groups on a stream."""
    from papyra_flow.streams.admin.repair import Membership

    stages, streams = found.topology.stages, found.topology.streams.values()
    return [Membership(key, stages[name].group) for stream in streams if stream.key == key for name in stream.readers]


async def hand_over_all(
    server: Server, found: Session, chosen: list[tuple[Membership, list[Pending]]], to: str | None
) -> int:
    """Give pending entries to a consumer, or make them free for whoever claims next; returns how many."""
    from papyra_flow.spec.models import Settings
    from papyra_flow.streams.admin.repair import hand_over

    claim_after = {stage.group: stage.settings.claim_after for stage in found.topology.stages.values()}
    given = 0
    for member, entries in chosen:
        limit = claim_after.get(member.group, Settings().claim_after)
        given += await hand_over(server.client, member, entries, to=to, claim_after=limit)
    return given
