"""The plan of a pipeline on a server that answers."""

from __future__ import annotations

from collections.abc import Iterator

from papyra_flow.observe.partitions import time_text
from papyra_flow.operate.partitions import look_at_stage
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.leftovers import leftovers
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import keys_of
from papyra_flow.topology.plan import Plan, PlannedStage, make_plan
from papyra_flow.topology.repartition import repartitioned
from papyra_flow.topology.shapes import reshaped


async def plan_on(server: Server, topology: Topology) -> Plan:
    """What a run would create on the server, and what it has; raises ServerErrors."""
    keys = await keys_of(server, topology)
    streams = [stream.key for stream in topology.streams.values()]
    positions = await look(server.client, list(dict.fromkeys([*streams, *keys])))
    made = make_plan(topology, await counted(server.client, positions), server=server.shown, keys=keys)
    for stage in made.stages:
        there = await look_at_stage(server, topology, topology.stages[stage.name])
        stage.owners, stage.watermark = there.owners, time_text(there.watermark)
        stage.state_entries, stage.state_bytes = there.entries, there.bytes
    made.warnings = [*await leftovers(server.client, topology), *_growing(made.stages)]
    made.repartitioned = await repartitioned(server.client, topology)
    made.reshaped = await reshaped(server.client, topology)
    return made


def _growing(stages: list[PlannedStage]) -> Iterator[str]:
    for stage in stages:
        if stage.grows is not None:
            entries = "1 entry" if stage.state_entries == 1 else f"{stage.state_entries:,} entries"
            yield f"the state of {stage.name!r} grows: {stage.grows}; so far {entries}, {stage.state_bytes:,} bytes"
