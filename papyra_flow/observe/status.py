"""One look at a pipeline on its server: groups, lag, pending, dead letters, streams.

The names are those of `status --json`.
"""

from __future__ import annotations

from collections.abc import Mapping

from papyra_flow.observe.partitions import stage_document
from papyra_flow.observe.reports import read_reports
from papyra_flow.records.entries import parse_id
from papyra_flow.streams.admin.partitions import look_at_partitions
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.backlog import backlog_of
from papyra_flow.streams.groups.delayed import waiting
from papyra_flow.streams.groups.ends import ends_of
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.snapshot import StreamsSnapshot, look
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import NamedStream


async def status(server: Server, topology: Topology) -> dict[str, object]:
    """The status document of a pipeline."""
    stages = list(topology.stages.values())
    streams = list(topology.streams.values())
    dead = [stage.dead_key for stage in stages]
    positions = await look(server.client, [*(stream.key for stream in streams), *dead], topology.leases)
    positions = await counted(server.client, positions)
    replies = await server.client.call_many([("MEMORY", "USAGE", stream.key, "SAMPLES", 5) for stream in streams])
    sizes = [size if isinstance(size, int) else 0 for size in replies]
    ends = await ends_of(server.client, [positions.streams[stream.key] for stream in streams], sizes)
    reports = await read_reports(server.client, topology.keys.workers)
    away = {name: one.away for report in reports for name, one in report.counters.stages.items() if one.away}
    later = await waiting(server.client, [topology.keys.later(stage.name) for stage in stages])
    shown: dict[str, dict[str, object]] = {}
    for stage, waits in zip(stages, later, strict=True):
        shown[stage.name] = await _stage(server, topology, stage, positions)
        shown[stage.name]["waiting"] = waits.records
        if stage.keyed_step is not None:
            told = [report.counters.stages[stage.name] for report in reports if stage.name in report.counters.stages]
            shown[stage.name]["late"] = sum(one.late for one in told)
        if stage.name in away:
            shown[stage.name]["away"] = topology.public(away[stage.name])
    facts: dict[str, dict[str, object]] = {
        stream.key: {
            "key": stream.key,
            "length": positions.streams[stream.key].length,
            "first_id": first,
            "last_id": last,
            "bytes": size,
        }
        for stream, size, (first, last) in zip(streams, sizes, ends, strict=True)
    }
    return {
        "pipeline": topology.pipeline,
        "stages": shown,
        "streams": {name: _stream(named, facts) for name, named in topology.named.items() if not named.spec.hidden},
    }


def _stream(named: NamedStream, facts: Mapping[str, dict[str, object]]) -> dict[str, object]:
    """A stream as a whole; where it has partitions, each of them as well."""
    parts = [facts[key] for key in named.keys]
    if named.partitions is None:
        return parts[0]
    ids = {name: [str(part[name]) for part in parts if part[name] is not None] for name in ("first_id", "last_id")}
    return {
        "key": named.key,
        "length": sum(int(str(part["length"])) for part in parts),
        "first_id": min(ids["first_id"], key=parse_id, default=None),
        "last_id": max(ids["last_id"], key=parse_id, default=None),
        "bytes": sum(int(str(part["bytes"])) for part in parts),
        "partitions": parts,
    }


async def _stage(server: Server, topology: Topology, stage: StageSpec, positions: StreamsSnapshot) -> dict[str, object]:
    keys = [topology.streams[name].key for name in stage.inputs]
    at = await backlog_of(server.client, positions, keys, stage.group)
    document: dict[str, object] = {
        "stream": ", ".join(topology.reads(stage)) or None,
        "group": stage.group if stage.inputs else None,
        "consumers": at.consumers,
        "pending": at.pending,
        "lag": at.lag,
        "oldest_pending_ms": None if at.oldest_pending is None else int(at.oldest_pending * 1000),
        "dead": positions.streams[stage.dead_key].length,
    }
    if not at.exact:
        document["lag_exact"] = False  # the most that it can be
    if stage.owned:
        there = await look_at_partitions(server.client, topology.partitions(stage), stage.settings.claim_after)
        document |= {"consumers": there.owned, **stage_document(stage, there)}
    if stage.source is not None:
        lease = positions.leases[stage.source_lease]
        document["source"] = {
            "records": lease.records,
            "done": lease.done,
            "checkpoint": lease.checkpoint or None,
        }
    return document
