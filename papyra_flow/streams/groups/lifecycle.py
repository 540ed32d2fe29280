"""Creating and removing consumer groups, many in one round trip.

XGROUP CREATE ... MKSTREAM (https://redis.io/docs/latest/commands/xgroup-create/) creates the stream too; a
group that is there already answers BUSYGROUP, which is as good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from papyra_flow.errors import CommandRefusedError, GroupGoneError, ServerError
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.scripts import call_script


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A group that is to exist: its stream's key, its name, and the id after which it starts."""

    key: str
    group: str
    start: str = "0"


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer of a group: entries pending for it, and seconds since it last asked for something."""

    name: str
    pending: int
    idle: float


async def consumers_of(client: Client, key: str, group: str) -> list[ConsumerInfo]:
    """XINFO CONSUMERS (https://redis.io/docs/latest/commands/xinfo-consumers/); empty if the group does not exist."""
    try:
        reply = await client.call("XINFO", "CONSUMERS", key, group)
    except CommandRefusedError as exc:
        if "no such key" in str(exc):
            return []
        raise
    except GroupGoneError:
        return []
    found = [dict(zip(info[::2], info[1::2], strict=True)) for info in reply] if isinstance(reply, list) else []
    return [ConsumerInfo(c[b"name"].decode(errors="replace"), c[b"pending"], c[b"idle"] / 1000) for c in found]


async def create_groups(client: Client, groups: Sequence[GroupSpec], *, marker: str) -> list[GroupSpec]:
    """Create what is missing, in one round trip; returns the groups that were not there before.

    `marker` is a key that is set with them: where it exists and a group does not, the group was destroyed; where it
    holds something else than before, the server had lost everything.

    Raises the first ServerError that is not BUSYGROUP, e.g. WrongKeyTypeError, after all have been tried.
    """
    commands: list[tuple[Argument, ...]] = [
        ("XGROUP", "CREATE", spec.key, spec.group, spec.start, "MKSTREAM") for spec in groups
    ]
    replies = await client.call_many([*commands, ("SET", marker, uuid4().hex, "NX")])
    _raise_first(replies, unless="BUSYGROUP")
    return [spec for spec, reply in zip(groups, replies, strict=False) if not isinstance(reply, ServerError)]


async def destroy_groups(client: Client, groups: Sequence[GroupSpec]) -> None:
    """Remove groups, in one round trip; one that is not there, or whose stream is not, is passed over."""
    replies = await client.call_many([("XGROUP", "DESTROY", spec.key, spec.group) for spec in groups])
    _raise_first(replies, unless="requires the key to exist")


async def delete_consumer(client: Client, key: str, group: str, consumer: str) -> bool:
    """Remove a consumer that has nothing pending; one that has is left alone, for its entries would be lost.

    XGROUP DELCONSUMER (https://redis.io/docs/latest/commands/xgroup-delconsumer/) throws pending entries away.
    Returns whether it was removed.
    """
    return await call_script(client, "leave_group", [key], [group, consumer]) == 1


def _raise_first(replies: Sequence[Reply | ServerError], *, unless: str) -> None:
    for reply in replies:
        if isinstance(reply, ServerError) and unless not in str(reply):
            raise reply
