"""Whether the state on a server was made by steps of the same shape as the file's: key, windows, functions.

An owner keeps the shape in the lease of its partition. State of another shape would be read as what it is not: nothing
goes on with it.
"""

from __future__ import annotations

from papyra_flow.streams.commit.ownership import does_not_fit
from papyra_flow.streams.connection.client import Client
from papyra_flow.topology.keyed import keyed_of
from papyra_flow.topology.model import Topology


async def reshaped(client: Client, topology: Topology) -> list[str]:
    """A sentence on every stage with state that does not fit; raises ServerErrors.

    Steps that call the author's code are not asked for their shape here: their owner is, when it takes a partition.
    """
    found = []
    for stage in topology.stages.values():
        keyed = keyed_of(topology, stage)
        if keyed is None:
            continue
        partitions = topology.partitions(stage)
        shapes = await client.call_many([("HGET", keys.lease, "shape") for keys in partitions])
        states = await client.call_many([("EXISTS", keys.state, keys.timers) for keys in partitions])
        for reply in (*shapes, *states):
            if isinstance(reply, Exception):
                raise reply
        misfits = [shape not in {None, keyed.shape.encode()} for shape in shapes]
        if any(misfit and there for misfit, there in zip(misfits, states, strict=True)):
            found.append(does_not_fit(stage.name))
    return found
