"""Stages with owners that need a look: partitions without one, state that is gone, entries that end their owners."""

from __future__ import annotations

from papyra_flow.observe.reports import read_reports
from papyra_flow.operate.partitions import look_at_stage
from papyra_flow.streams.admin.health import Advice
from papyra_flow.streams.admin.partitions import PartitionsSnapshot
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology


async def partition_findings(server: Server, topology: Topology) -> list[Advice]:
    """What is wrong with partitions; raises ServerErrors."""
    found: list[Advice] = []
    stages = [stage for stage in topology.stages.values() if stage.owned]
    at_work = {
        name for report in await read_reports(server.client, topology.keys.workers) for name in report.counters.stages
    }
    for stage in stages:
        found += _of_stage(stage, await look_at_stage(server, topology, stage), at_work=stage.name in at_work)
    if stages and not found:
        found.append(Advice("owners", "ok", "no partition is without an owner, and no state was lost"))
    return found


def _of_stage(stage: StageSpec, there: PartitionsSnapshot, *, at_work: bool) -> list[Advice]:
    found = []
    ownerless = [one.number for one in there.partitions if not one.alive]
    if ownerless and at_work:
        message = f"{_partitions(ownerless)} of {stage.name!r} without an owner, while workers of it are at work"
        hint = "if it lasts, look at their logs: a worker that cannot take a partition says why"
        found.append(Advice("owners", "warning", message, hint))
    if there.lost:
        numbers = [one.number for one in there.partitions if one.lost]
        message = f"the server lost {there.lost:,} keys of the state of {stage.name!r}, in {_partitions(numbers)}"
        hint = f"rebuild it: `papyra-flow reset FILE {stage.name} --state --to earliest` reads what its streams keep"
        found.append(Advice("state", "error", message, hint))
    for one in there.partitions:
        if one.limit == 1 and (tries := max(one.tries.values(), default=0)) > 1:
            message = (
                f"the next entry of partition {one.number} of {stage.name!r} was taken {tries} times by itself "
                "without an end: it may end the workers that take it"
            )
            hint = f"`papyra-flow pending FILE {stage.name}` shows its id"
            found.append(Advice("poisoned", "warning", message, hint))
    return found


def _partitions(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return f"{'partition' if len(numbers) == 1 else 'partitions'} {shown}"
