"""One stage looked at closely: who consumes it, what is pending, what died last."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from papyra_flow.errors import GroupGoneError
from papyra_flow.operate.partitions import look_at_stage
from papyra_flow.streams.admin.dead_letters import DeadLetter, read_dead_letter
from papyra_flow.streams.admin.partitions import PartitionsSnapshot
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Claimer, Pending
from papyra_flow.streams.groups.lifecycle import ConsumerInfo, consumers_of
from papyra_flow.streams.groups.reading import entries_of
from papyra_flow.topology.model import StageSpec, Topology

PENDING, LETTERS = 8, 5
"""How many of each are shown."""


@dataclass(slots=True)
class Details:
    """What there is to see of a stage."""

    stage: str
    consumers: list[ConsumerInfo] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    partitions: PartitionsSnapshot | None = None
    """Those of a stage that has owners."""
    letters: list[DeadLetter] = field(default_factory=list)
    """The newest first."""


async def look_closely(server: Server, topology: Topology, stage: StageSpec) -> Details:
    """A stage's details now; raises ServerErrors."""
    found = Details(stage.name)
    consumers: dict[str, ConsumerInfo] = {}
    for name in stage.inputs:
        key = topology.streams[name].key
        for one in await consumers_of(server.client, key, stage.group):
            before = consumers.get(one.name, ConsumerInfo(one.name, 0, one.idle))
            consumers[one.name] = ConsumerInfo(one.name, before.pending + one.pending, min(before.idle, one.idle))
        claimer = Claimer(server.client, key=key, group=stage.group, consumer="")
        with suppress(GroupGoneError):  # it is not there yet
            found.pending += await claimer.pending(PENDING, consumer="")
    found.consumers = list(consumers.values())
    if stage.owned:
        found.partitions = await look_at_stage(server, topology, stage)
    reply = await server.client.call("XREVRANGE", stage.dead_key, "+", "-", "COUNT", LETTERS)
    found.letters = [read_dead_letter(entry) for entry in entries_of([[stage.dead_key.encode(), reply]])]
    return found
