"""Removing a pipeline from a server: its own keys, and its groups on streams that belong to others."""

from __future__ import annotations

from dataclasses import dataclass

from papyra_flow.streams.groups import GroupSpec, destroy_groups
from papyra_flow.streams.positions import look
from papyra_flow.streams.server import Server
from papyra_flow.streams.waiting import waiting
from papyra_flow.topology.model import Topology


@dataclass(frozen=True, slots=True)
class There:
    """What a pipeline has on a server, and how many records it has still to process."""

    keys: list[str]
    groups: list[GroupSpec]
    backlog: int


async def what_is_there(server: Server, topology: Topology) -> There:
    """The pipeline's keys, its groups on streams of others, and its backlog."""
    positions = await look(server.wire, [stream.key for stream in topology.streams.values()])
    foreign, backlog = [], 0
    for stream in topology.streams.values():
        groups = positions.streams[stream.key].groups
        for name in stream.readers:
            stage = topology.stages[name]
            if stage.group in groups:
                backlog += groups[stage.group].backlog
                if stream.external:
                    foreign.append(GroupSpec(stream.key, stage.group))
    later = await waiting(server.wire, [topology.keys.later(name) for name in topology.stages])
    backlog += sum(found.records for found in later)
    return There(await keys_of(server, topology), foreign, backlog)


async def carry_out(server: Server, there: There) -> None:
    """Remove all of it."""
    await destroy_groups(server.wire, there.groups)
    for start in range(0, len(there.keys), 500):
        await server.wire.call("UNLINK", *there.keys[start : start + 500])


async def keys_of(server: Server, topology: Topology) -> list[str]:
    """All keys under the pipeline's hash tag, by SCAN (https://redis.io/docs/latest/commands/scan/)."""
    found: set[str] = set()
    cursor = b"0"
    while True:
        reply = await server.wire.call("SCAN", cursor, "MATCH", topology.keys.pattern, "COUNT", 1000)
        if not isinstance(reply, list):
            return sorted(found)
        cursor = reply[0]
        found.update(key.decode(errors="replace") for key in reply[1])
        if cursor == b"0":
            return sorted(found)
