"""What the keys of `top` do to a stage; each returns one sentence on what came of it."""

from __future__ import annotations

import orjson

from papyra_flow.records.entries import Entry
from papyra_flow.streams.admin.dead_letters import dead_ids, replay
from papyra_flow.streams.admin.display import text_of
from papyra_flow.streams.admin.pauses import pause, resume
from papyra_flow.streams.admin.repair import Membership, hand_over, pending_of
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.reading import entries_of
from papyra_flow.topology.model import StageSpec, Topology

TAPPED = 20
CLAIMED = 10_000
"""Records that are shown, and entries that are freed, at once."""


async def pause_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Let a stage take nothing more."""
    await pause(server.client, topology.keys.paused, stage.name)
    return f"{stage.name} is paused: it commits what it has in hand and takes nothing more"


async def resume_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Let it go on."""
    await resume(server.client, topology.keys.paused, stage.name)
    return f"{stage.name} goes on"


async def claim_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Make what has been idle for longer than the claim time claimable at once, for whoever looks next."""
    given = 0
    for name in stage.inputs:
        member = Membership(topology.streams[name].key, stage.group)
        idle = await pending_of(server.client, member, count=CLAIMED, idle=stage.settings.claim_after)
        given += await hand_over(server.client, member, idle, claim_after=stage.settings.claim_after)
    return f"{given:,} pending entries of {stage.name} are there for whoever claims next"


async def replay_stage(server: Server, topology: Topology, stage: StageSpec) -> str:
    """Put all of a stage's dead letters back."""
    if stage.replay is None:
        return f"{stage.name} is only a source: its dead letters are input that is no record"
    ids = await dead_ids(server.client, stage.dead_key)
    done = await replay(server.client, stage.dead_key, topology.streams[stage.replay].key, ids)
    return f"{done:,} dead letters of {stage.name} were put back"


async def tap_stage(server: Server, topology: Topology, stage: StageSpec) -> list[str]:
    """The newest entries of what a stage reads, or writes if it reads no stream; a line each, the newest last."""
    names = [name for name in stage.inputs if not topology.streams[name].internal] or list(stage.source_to)
    lines: list[str] = []
    for name in names:
        key = topology.streams[name].key
        reply = await server.client.call("XREVRANGE", key, "+", "-", "COUNT", TAPPED)
        entries = entries_of([[key.encode(), reply]])
        lines += [f"{name} {_line(entry)}" for entry in reversed(entries)]
    return lines


def _line(entry: Entry) -> str:
    if entry.data is not None:
        return f"{entry.id.decode()}  {text_of(entry.data)}"
    pairs = {
        entry.fields[i].decode(errors="replace"): text_of(entry.fields[i + 1]) for i in range(0, len(entry.fields), 2)
    }
    return f"{entry.id.decode()}  {orjson.dumps(pairs).decode()}"
