"""What an operator does to a stage as a whole: pause it, resume it, put its dead letters back, free what is pending."""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.errors import UsageError
from papyra_flow.streams.admin import pauses
from papyra_flow.streams.admin.dead_letters import each_dead, replay
from papyra_flow.streams.admin.repair import Membership, hand_over, pending_of
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology

CLAIMED = 10_000
"""Pending entries of a stream that are freed at once."""


async def pause(server: Server, topology: Topology, stage: StageSpec) -> None:
    """Let a stage take nothing more, in all workers, until it is resumed; it commits what it is processing."""
    await pauses.pause(server.client, topology.keys.paused, stage.name)


async def resume(server: Server, topology: Topology, stage: StageSpec) -> None:
    """Let a paused stage continue."""
    await pauses.resume(server.client, topology.keys.paused, stage.name)


def replay_keys(topology: Topology, stage: StageSpec) -> list[str]:
    """The streams from which a stage reads its replayed dead letters; raises UsageError for one that reads none."""
    if not stage.replays:
        raise UsageError(
            f"{stage.name!r} is only a source: its dead letters are input that could not be read as records"
        )
    return [topology.streams[name].key for name in stage.replays]


async def replay_dead(server: Server, topology: Topology, stage: StageSpec, ids: Sequence[str]) -> int:
    """Put these dead letters back, each once; returns how many. Raises UsageError as `replay_keys`."""
    keys = replay_keys(topology, stage)
    if len(keys) == 1:
        return await replay(server.client, stage.dead_key, keys[0], ids)
    # Each goes to the owner of the partition that it came from, who has the state of its key.
    number_of = {topology.streams[name].key: topology.streams[name].number or 0 for name in stage.inputs}
    chosen: dict[int, list[str]] = {}
    async for letter in each_dead(server.client, stage.dead_key, ids=ids):
        chosen.setdefault(number_of.get(letter.origin, 0), []).append(letter.id)
    done = [await replay(server.client, stage.dead_key, keys[number], found) for number, found in chosen.items()]
    return sum(done)


async def free_idle(server: Server, topology: Topology, stage: StageSpec) -> int:
    """Release what has been idle for longer than the claim time to the next consumer to claim; returns how many."""
    freed, claim_after = 0, stage.settings.claim_after
    for name in stage.inputs:
        member = Membership(topology.streams[name].key, stage.group)
        idle = await pending_of(server.client, member, count=CLAIMED, idle=claim_after)
        freed += await hand_over(server.client, member, idle, claim_after=claim_after)
    return freed
