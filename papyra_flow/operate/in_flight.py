"""What the owners of a stage's partitions have still to commit: nothing of it is pending, their leases know it."""

from __future__ import annotations

from dataclasses import dataclass

from papyra_flow.operate.partitions import look_at_stage
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.model import StageSpec, Topology


@dataclass(frozen=True, slots=True)
class InFlight:
    """A stream of a partition with entries that its owner, if there is one, has not committed."""

    partition: int
    stream: str
    owner: str | None
    at: str
    """The group's position: all up to there is committed."""
    next: str
    """The first entry behind it."""
    lag: int
    silent_ms: int | None
    """Since the owner's last sign of life."""
    tries: int
    """How often that entry was taken by itself, without an end."""


async def in_flight(server: Server, topology: Topology, stage: StageSpec) -> list[InFlight]:
    """What is behind the positions of a stage with owners; raises ServerErrors."""
    there = await look_at_stage(server, topology, stage)
    keys = [key for one in there.partitions for key in one.keys.streams]
    positions = await counted(server.client, await look(server.client, keys))
    found = []
    for one in there.partitions:
        for key in one.keys.streams:
            group = positions.streams[key].groups.get(stage.group)
            if group is None or not group.lag:
                continue
            reply = await server.client.call("XRANGE", key, f"({group.last_delivered}", "+", "COUNT", 1)
            if isinstance(reply, list) and reply:
                found.append(
                    InFlight(
                        one.number, key, one.owner if one.alive else None, group.last_delivered, reply[0][0].decode(),
                        group.lag, one.silent_ms, one.tries.get(key, 0),
                    )
                )  # fmt: skip
    return found
