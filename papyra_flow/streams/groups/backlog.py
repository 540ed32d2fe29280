"""What one stage's group has still to do, over all the streams that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.snapshot import GroupPosition, StreamsSnapshot


@dataclass(slots=True)
class Backlog:
    """A group's lag and pending entries; where it is not `exact`, the lag is the most that it can be."""

    groups: dict[str, GroupPosition] = field(default_factory=dict)
    """The group on each stream on which it exists, by the stream's key."""
    consumers: int = 0
    pending: int = 0
    lag: int = 0
    exact: bool = True
    oldest_pending: float | None = None
    """Seconds that the oldest pending entry has been idle."""


async def backlog_of(client: Client, positions: StreamsSnapshot, keys: Sequence[str], group: str) -> Backlog:
    """A group's backlog; a stream on which it does not exist lies before it as a whole."""
    found = Backlog()
    oldest: list[float] = []
    for key in keys:
        at = positions.streams[key].groups.get(group)
        if at is None:
            found.lag += positions.streams[key].length
            continue
        found.groups[key] = at
        found.consumers = max(found.consumers, at.consumers)
        found.pending += at.pending
        found.lag += at.lag
        found.exact &= at.exact
        if at.pending:
            claimer = Claimer(client, key=key, group=group, consumer="")
            oldest += [entry.idle for entry in await claimer.pending(1, consumer="")]
    found.oldest_pending = max(oldest, default=None)
    return found
