"""What verbs that repair a group have to know of it, and to tell: its claim time, and losses that are no accident."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.repair import Membership
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.streams.groups.claims import Pending

T = TypeVar("T")


async def on_purpose(server: Server, found: Session, members: list[Membership], doing: Awaitable[T]) -> T:
    """Do something to these groups; no audit finds it lost. Groups that are not the pipeline's own are not audited."""
    from papyra_flow.streams.commit import ledger
    from papyra_flow.streams.groups.lifecycle import GroupSpec

    groups = [GroupSpec(member.key, member.group) for member in members if member in readers(found, member.key)]
    return await ledger.on_purpose(server.client, found.topology.keys.ledger, groups, doing)


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
