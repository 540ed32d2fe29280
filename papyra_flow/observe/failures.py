"""What failed in a run, and how often: read from the newest dead letters, alike ones together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from papyra_flow.observe.counters import RunCounters
from papyra_flow.streams.admin.dead_letters import alike, each_dead
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import Topology

NEWEST = 200
"""Letters that are looked at, of each stage: enough to say what fails, and read at once."""
SHOWN = 5
EVERY_SECONDS = 1.0
_log = logging.getLogger("papyra_flow.watch")


@dataclass(frozen=True, slots=True)
class Failures:
    """A stage's failures: how many, and the most frequent errors among those that were looked at."""

    stage: str
    dead: int
    looked_at: int
    errors: tuple[tuple[str, int], ...]
    """With an example where there is only one of a kind, else with what differs left out."""
    replayable: bool
    """Whether they can be put back: what a source could not read as a record cannot."""


async def failures(server: Server, topology: Topology, dead: Mapping[str, int]) -> list[Failures]:
    """What failed in these stages, each with its number of dead letters; raises ServerErrors."""
    found = []
    for name, count in dead.items():
        if count and name in topology.stages:
            found.append(await _of_stage(server, topology, name, count))
    return found


async def _of_stage(server: Server, topology: Topology, name: str, count: int) -> Failures:
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    async for letter in each_dead(server.client, topology.stages[name].dead_key):
        kind = alike(letter.error)
        kinds[kind] += 1
        examples.setdefault(kind, letter.error)
        if kinds.total() >= min(count, NEWEST):
            break
    errors = tuple((examples[kind] if number == 1 else kind, number) for kind, number in kinds.most_common(SHOWN))
    return Failures(name, count, kinds.total(), errors, bool(topology.stages[name].replays))


def told(found: Failures) -> list[str]:
    """Failures in words, a line each."""
    among = "" if found.looked_at >= found.dead else f" (of the newest {found.looked_at:,})"
    lines = [f"{found.stage}: {found.dead:,} dead letter{'s' if found.dead != 1 else ''}{among}"]
    return lines + [f"  {number:,} x {error}" for error, number in found.errors]


async def follow_failures(topology: Callable[[], Topology], counters: RunCounters, server: Server) -> None:
    """Log what fails, as it does, until cancelled; raises ServerErrors."""
    seen: dict[str, int] = {}
    while True:
        new = {name: one.dead - seen.get(name, 0) for name, one in counters.stages.items()}
        seen = {name: one.dead for name, one in counters.stages.items()}
        for one in await failures(server, topology(), new):
            _log.warning("%s", "\n".join(told(one)))
        await asyncio.sleep(EVERY_SECONDS)
