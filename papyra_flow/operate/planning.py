"""The plan of a pipeline on a server that answers."""

from __future__ import annotations

from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.leftovers import leftovers
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import keys_of
from papyra_flow.topology.plan import Plan, make_plan
from papyra_flow.topology.repartition import repartitioned


async def plan_on(server: Server, topology: Topology) -> Plan:
    """What a run would create on the server, and what it has; raises ServerErrors."""
    keys = await keys_of(server, topology)
    streams = [stream.key for stream in topology.streams.values()]
    positions = await look(server.client, list(dict.fromkeys([*streams, *keys])))
    made = make_plan(topology, await counted(server.client, positions), server=server.shown, keys=keys)
    made.warnings = await leftovers(server.client, topology)
    made.repartitioned = await repartitioned(server.client, topology)
    return made
