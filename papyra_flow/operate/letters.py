"""What an operator does with dead letters: choose some, of one stage or of several, and list, put back or drop them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.operate.stages import replay_dead
from papyra_flow.streams.admin import dead_letters
from papyra_flow.streams.admin.dead_letters import DeadGroup, DeadLetter
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology


@dataclass(frozen=True, slots=True)
class Choice:
    """Dead letters of these stages: all, or those with these `ids`, `match` in their error, or older than `before`."""

    stages: Sequence[StageSpec]
    ids: Sequence[str] | None = None
    match: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Dead letters, the newest of each stage first, and how many its stages have in all."""

    letters: list[DeadLetter]
    total: int


async def listed(server: Server, choice: Choice, count: int) -> Listing:
    """The chosen letters, up to `count` of each stage."""
    letters = [
        letter
        for stage in choice.stages
        for letter in await dead_letters.find_dead(
            server.client, stage.dead_key, ids=choice.ids, match=choice.match, limit=count, before=choice.before or "+"
        )
    ]
    totals = await dead_letters.count_dead(server.client, [stage.dead_key for stage in choice.stages])
    return Listing(letters, sum(totals))


async def grouped(server: Server, choice: Choice) -> list[tuple[StageSpec, DeadGroup]]:
    """The chosen letters by their errors, the most frequent of each stage first."""
    return [
        (stage, group)
        for stage in choice.stages
        for group in await dead_letters.group_dead(server.client, stage.dead_key, match=choice.match)
    ]


async def ids_of(server: Server, choice: Choice) -> dict[str, list[str]]:
    """The chosen letters' ids by stage, oldest first."""
    return {
        stage.name: await dead_letters.dead_ids(server.client, stage.dead_key, ids=choice.ids, match=choice.match)
        for stage in choice.stages
    }


async def put_back(server: Server, topology: Topology, ids: dict[str, list[str]]) -> dict[str, int]:
    """Put letters back into their stages, each once; returns how many by stage. Raises UsageError as `replay_key`."""
    return {
        name: await replay_dead(server, topology, topology.stages[name], chosen)
        for name, chosen in ids.items()
        if chosen
    }


async def drop(server: Server, topology: Topology, ids: dict[str, list[str]]) -> dict[str, int]:
    """Delete letters for good; returns how many there were by stage."""
    return {
        name: await dead_letters.drop_dead(server.client, topology.stages[name].dead_key, chosen)
        for name, chosen in ids.items()
    }
