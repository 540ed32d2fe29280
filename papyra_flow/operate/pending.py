"""Pending entries that need a look: those that were delivered again and again, and those without an owner."""

from __future__ import annotations

from papyra_flow.observe.figures import OLD_PENDING_CLAIM_TIMES
from papyra_flow.observe.reports import read_reports
from papyra_flow.spec.units import format_duration
from papyra_flow.streams.admin.health import Advice
from papyra_flow.streams.admin.repair import Membership, pending_of
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Pending
from papyra_flow.streams.groups.snapshot import StreamsSnapshot
from papyra_flow.topology.model import StageSpec, Topology

LOOKED_AT = 1000
"""The oldest pending entries of a group that are looked at."""


async def pending_findings(server: Server, topology: Topology, positions: StreamsSnapshot) -> list[Advice]:
    """What is wrong with pending entries; raises ServerErrors."""
    found: list[Advice] = []
    workers = {report.worker for report in await read_reports(server.client, topology.keys.workers)}
    for stage in topology.stages.values():
        for name in stage.inputs:
            key = topology.streams[name].key
            group = positions.streams[key].groups.get(stage.group)
            if group is None or not group.pending:
                continue
            entries = await pending_of(server.client, Membership(key, stage.group), count=LOOKED_AT)
            found += _poisoned(stage, key, entries)
            found += _ownerless(stage, key, entries, at_work=bool(workers))
    return found or [Advice("pending", "ok", "no pending entry is stuck")]


def _poisoned(stage: StageSpec, key: str, entries: list[Pending]) -> list[Advice]:
    often = [entry for entry in entries if entry.deliveries > stage.settings.attempts]
    if not often:
        return []
    worst = max(often, key=lambda entry: entry.deliveries)
    message = (
        f"{_counted(len(often), 'was', 'were')} delivered to {stage.name!r} more than {stage.settings.attempts} times "
        f"({worst.id.decode()} {worst.deliveries} times): they may crash the workers that take them"
    )
    hint = f"`papyra-flow pending FILE {stage.name}` lists them, `tap FILE '{key}' --from ID --count 1` shows one"
    return [Advice("poisoned", "warning", message, hint)]


def _ownerless(stage: StageSpec, key: str, entries: list[Pending], *, at_work: bool) -> list[Advice]:
    least = OLD_PENDING_CLAIM_TIMES * stage.settings.claim_after
    old = [entry for entry in entries if entry.idle > least]
    if not old:
        return []
    owners = sorted({entry.consumer for entry in old})
    told = ", ".join(owners[:3]) + (f" and {len(owners) - 3} more" if len(owners) > 3 else "")
    message = f"{_counted(len(old), 'is', 'are')} pending on {key} for {told}, untouched for " + format_duration(
        round(min(entry.idle for entry in old))
    )
    if not at_work:
        hint = "no worker runs: the next `papyra-flow run` takes them over"
        return [Advice("ownerless", "info", message, hint)]
    return [
        Advice("ownerless", "warning", message, f"`papyra-flow claim FILE {stage.name}` releases them to the workers")
    ]


def _counted(count: int, one: str, many: str) -> str:
    return f"1 entry {one}" if count == 1 else f"{count:,} entries {many}"
