"""What would go wrong with a pipeline, before it does: its server, its rights, its keys, its pending entries, its ends.

Nothing is created or changed, and no step function is imported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from papyra_flow.errors import PapyraFlowError, ServerError
from papyra_flow.operate.endpoints import endpoint_findings
from papyra_flow.operate.owners import partition_findings
from papyra_flow.operate.pending import pending_findings
from papyra_flow.operate.rights import right_findings
from papyra_flow.streams.admin.health import Advice, clock_finding, server_findings
from papyra_flow.streams.connection.addresses import names_cluster
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.snapshot import StreamsSnapshot, look
from papyra_flow.topology.migration import former_groups
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import find_orphans
from papyra_flow.topology.repartition import repartitioned
from papyra_flow.topology.shapes import reshaped

Check = Callable[[Server, Topology], Awaitable[list[Advice]]]


async def examine(topology: Topology, url: str) -> list[Advice]:
    """All that was looked at, in order; what could not be looked at is a finding, too."""
    topology = replace(topology, redis=url)
    found = await _of_server(topology, url) + await endpoint_findings(topology)
    public = topology.public
    return [replace(one, message=public(one.message), hint=one.hint and public(one.hint)) for one in found]


async def _of_server(topology: Topology, url: str) -> list[Advice]:
    server: Server | None = None
    try:
        server = Server(url, key=topology.keys.applied)
        await server.check()
        checks: list[Check] = [_settings, _scripting, right_findings, _keys, _orphans, _pending, partition_findings]
        found = []
        for check in checks:
            try:
                found += await check(server, topology)
            except ServerError as exc:
                name = check.__name__.strip("_")
                found.append(Advice(name, "error", f"check failed: {exc}"))
    except PapyraFlowError as exc:
        return [Advice("server", "error", str(exc), "fix `redis` in the file, or pass --redis")]
    else:
        return found
    finally:
        if server is not None:
            with suppress(ServerError):
                await server.close()


async def _settings(server: Server, _: Topology) -> list[Advice]:
    return [*await server_findings(server.client), await clock_finding(server.client)]


async def _scripting(server: Server, topology: Topology) -> list[Advice]:
    try:
        await server.client.call("EVAL", "#!lua\nreturn 1", 1, topology.keys.probe)
    except ServerError as exc:
        return [Advice("scripting", "error", f"the server runs no scripts: {exc}", "commits are scripts: allow EVAL")]
    return [Advice("scripting", "ok", "the server runs scripts")]


async def _positions(server: Server, topology: Topology) -> StreamsSnapshot:
    return await look(server.client, [stream.key for stream in topology.streams.values()], topology.leases)


async def _keys(server: Server, topology: Topology) -> list[Advice]:
    """Keys of another type than they are used with, or in another slot than the pipeline."""
    streams = [stream.key for stream in topology.streams.values()]
    streams += [stage.dead_key for stage in topology.stages.values()]
    kinds = dict.fromkeys(streams, "stream")
    kinds |= dict.fromkeys([*topology.leases, topology.keys.workers, topology.keys.paused], "hash")
    for stage in topology.stages.values():
        for one in topology.partitions(stage) if stage.owned else ():
            kinds |= {one.lease: "hash", one.state: "hash", one.timers: "zset"}
    types = await server.client.call_many([("TYPE", key) for key in kinds])
    found = []
    for (key, kind), reply in zip(kinds.items(), types, strict=True):
        told = reply.decode() if isinstance(reply, bytes) else "none"
        if told not in {kind, "none"}:
            message, hint = f"{key} holds a {told}, not a {kind}", "rename or delete that key, or use another"
            found.append(Advice("keys", "error", message, hint))
    if names_cluster(topology.redis):
        for key in streams:
            if not topology.has_within_reach(key):
                message = f"{key} is in another cluster slot than the pipeline: a commit cannot span both"
                found.append(
                    Advice("slots", "error", message, "use `read: {stream: …}` or `write: {stream: …}` to cross slots")
                )
        if not any(one.check == "slots" for one in found):
            found.append(Advice("slots", "ok", "all keys are in the pipeline's slot"))
    if not any(one.check == "keys" for one in found):
        found.insert(0, Advice("keys", "ok", "every key has the expected type"))
    return found


async def _orphans(server: Server, topology: Topology) -> list[Advice]:
    found = []
    positions = await _positions(server, topology)
    if all(stream.kind in {"stream", "none"} for stream in positions.streams.values()):
        for former in former_groups(topology, positions):
            found.append(Advice("groups", "error", str(former), "`run` does not start until the file sets `group:`"))
        for sentence in await repartitioned(server.client, topology):
            found.append(Advice("partitions", "error", sentence, "`run` does not start until then"))
        for sentence in await reshaped(server.client, topology):
            found.append(Advice("state", "error", sentence, "`run` does not start until then"))
    for orphan in await find_orphans(server, topology):
        stuck = orphan.holds_records and not orphan.of_others
        found.append(Advice("orphans", "warning" if stuck else "info", str(orphan), orphan.hint))
    return found or [Advice("orphans", "ok", "every group and key on the server belongs to the file")]


async def _pending(server: Server, topology: Topology) -> list[Advice]:
    return await pending_findings(server, topology, await _positions(server, topology))
