"""Removing a pipeline from a server: its own keys, and its groups on streams that belong to others."""

from __future__ import annotations

from dataclasses import dataclass

from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.delayed import waiting
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.lifecycle import GroupSpec, destroy_groups
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import keys_of

TOLD_SECONDS = 60
"""How long it can be seen that a pipeline was destroyed: by then each of its workers has looked."""


@dataclass(frozen=True, slots=True)
class There:
    """What a pipeline has on a server, and how many records it has still to process."""

    keys: list[str]
    groups: list[GroupSpec]
    backlog: int
    others: dict[str, int]
    """Groups of others on the pipeline's own streams (`group on key`), and what they have still to process there."""


async def what_is_there(server: Server, topology: Topology) -> There:
    """The pipeline's keys, its groups on streams of others, and its backlog."""
    positions = await look(server.client, [stream.key for stream in topology.streams.values()])
    positions = await counted(server.client, positions, once=True)
    foreign, backlog = [], 0
    others: dict[str, int] = {}
    for stream in topology.streams.values():
        groups = positions.streams[stream.key].groups
        if not stream.external:
            ours = {topology.stages[name].group for name in stream.readers}
            others |= {f"{name} on {stream.key}": at.backlog for name, at in groups.items() if name not in ours}
        for name in stream.readers:
            stage = topology.stages[name]
            if stage.group in groups:
                backlog += groups[stage.group].backlog
                if stream.external:
                    foreign.append(GroupSpec(stream.key, stage.group))
    later = await waiting(server.client, [topology.keys.later(name) for name in topology.stages])
    backlog += sum(found.records for found in later)
    keys = [key for key in await keys_of(server, topology) if key != topology.keys.destroyed]
    return There(keys, foreign, backlog, others)


async def carry_out(server: Server, there: There, *, tell: str = "") -> None:
    """Remove all of it; `tell` is a key from which running workers learn it, so that they do not create it again."""
    if tell:
        await server.client.call("SET", tell, 1, "EX", TOLD_SECONDS)
    await destroy_groups(server.client, there.groups)
    for start in range(0, len(there.keys), 500):
        await server.client.call("UNLINK", *there.keys[start : start + 500])
