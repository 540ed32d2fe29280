"""What an operator does to a stage with owners: move it by its leases, drop its state."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from papyra_flow.errors import RefusedError
from papyra_flow.records.entries import parse_id
from papyra_flow.streams.admin.partitions import PartitionsSnapshot, look_at_partitions, reset_partition
from papyra_flow.streams.admin.repair import Membership, Move
from papyra_flow.streams.commit import ledger
from papyra_flow.streams.commit.ownership import PartitionKeys
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lifecycle import GroupSpec
from papyra_flow.streams.keys import Keyspace
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.orphans import keys_of


async def look_at_stage(server: Server, topology: Topology, stage: StageSpec) -> PartitionsSnapshot:
    """The partitions of a stage with owners, now; raises ServerErrors."""
    return await look_at_partitions(server.client, topology.partitions(stage), stage.settings.claim_after)


def stage_with(topology: Topology, member: Membership) -> StageSpec | None:
    """The stage whose group this is."""
    for stage in topology.stages.values():
        if stage.group == member.group and member.key in {stream.key for stream in topology.inputs(stage)}:
            return stage
    return None


async def kept_for(server: Server, topology: Topology, stage: StageSpec) -> PartitionsSnapshot:
    """All partitions with state of a stage, also those that it had when the file gave its streams others."""
    keys = topology.partitions(stage) if stage.owned else []
    known = {name for one in keys for name in (one.state, one.timers)}
    names = {f"@state:{stage.name}", f"@timers:{stage.name}"}
    others = [key for key in await keys_of(server, topology) if key not in known and key.partition("}:")[2] in names]
    tags = {re.sub(r"^\{(.*?)\}.*", r"\1", key) for key in others}
    former = [Keyspace(tag) for tag in sorted(tags)]
    keys += [PartitionKeys(one.owner(stage.name), one.state(stage.name), one.timers(stage.name), ()) for one in former]
    return await look_at_partitions(server.client, keys, stage.settings.claim_after)


async def reset(
    server: Server,
    topology: Topology,
    stage: StageSpec,
    partitions: Iterable[PartitionKeys],
    moves: Sequence[Move],
    *,
    force: bool,
    state: bool,
) -> None:
    """Move a stage's groups, each with the lease of its partition, and drop the state of these partitions.

    What goes back has its event times forgotten: they come again. Raises RefusedError where an owner is alive.
    """
    for keys in partitions:
        here = [move for move in moves if move.member.key in keys.streams]
        if not here and not state:
            continue
        try:
            await ledger.move(
                server.client, topology.keys.ledger, [GroupSpec(one.member.key, one.member.group) for one in here],
                reset_partition(
                    server.client, topology.keys.ledger, keys, stage.group,
                    {one.member.key: "{}-{}".format(*parse_id(one.to)) for one in here},
                    silence=stage.settings.claim_after, force=force, state=state,
                    times=any(one.again for one in here),
                ),
            )  # fmt: skip
        except RefusedError as exc:
            raise RefusedError(f"{keys.lease}: {exc}") from None
