"""What an operator takes from a group with consent is not lost: the ledger is told."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.server import Server
    from papyra_flow.streams.upkeep import Membership

T = TypeVar("T")


async def on_purpose(server: Server, found: Session, members: list[Membership], doing: Awaitable[T]) -> T:
    """Do something to these groups; no audit finds it lost."""
    from papyra_flow.streams import ledger
    from papyra_flow.streams.groups import GroupSpec

    groups = [GroupSpec(member.key, member.group) for member in members]
    return await ledger.on_purpose(server.wire, found.topology.keys.ledger, groups, doing)


def readers(found: Session, key: str) -> list[Membership]:
    """The pipeline's own groups on a stream."""
    from papyra_flow.streams.upkeep import Membership

    stages, streams = found.topology.stages, found.topology.streams.values()
    return [Membership(key, stages[name].group) for stream in streams if stream.key == key for name in stream.readers]
