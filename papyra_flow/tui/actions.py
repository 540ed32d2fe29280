"""What the keys of `top` do to a stage; each returns one sentence on what came of it."""

from __future__ import annotations

import orjson

from papyra_flow.errors import UsageError
from papyra_flow.operate import stages
from papyra_flow.records.entries import Entry
from papyra_flow.streams.admin.dead_letters import dead_ids
from papyra_flow.streams.admin.display import text_of
from papyra_flow.streams.admin.merged import newest
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology

TAPPED = 20
"""Records that are shown."""


async def pause_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Let a stage take nothing more."""
    await stages.pause(server, topology, stage)
    return f"paused {stage.name}: it commits what it is processing and reads no more"


async def resume_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Let it continue."""
    await stages.resume(server, topology, stage)
    return f"resumed {stage.name}"


async def claim_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Release what has been idle for longer than the claim time to the next consumer to claim."""
    freed = await stages.free_idle(server, topology, stage)
    return f"freed {freed:,} pending entries of {stage.name}: the next consumer that claims takes them"


async def replay_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Put all of a stage's dead letters back."""
    try:
        done = await stages.replay_dead(server, topology, stage, await dead_ids(server.client, stage.dead_key))
    except UsageError as exc:
        return str(exc)
    return f"put back {done:,} dead letters of {stage.name}"


async def tap_stage(server: Server, topology: Topology, stage: StageSpec) -> list[str]:
    """The newest entries of what a stage reads, or writes if it reads no stream; a line each, the newest last."""
    named = topology.named
    names = [name for name in topology.reads(stage) if not named[name].spec.internal] or list(stage.source_to)
    lines: list[str] = []
    for name in names:
        entries = await newest(server.client, named[name].keys, TAPPED)
        lines += [f"{name} {_line(entry)}" for entry in reversed(entries)]
    return lines


def _line(entry: Entry) -> str:
    if entry.data is not None:
        return f"{entry.id.decode()}  {text_of(entry.data)}"
    pairs = {
        entry.fields[i].decode(errors="replace"): text_of(entry.fields[i + 1]) for i in range(0, len(entry.fields), 2)
    }
    return f"{entry.id.decode()}  {orjson.dumps(pairs).decode()}"
