"""Records that wait for another attempt at a time that a step has said: put back when it has come.

Every process looks for those of its stages; the first to find a record moves it, in one script.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.spec.units import format_duration
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.delayed import MOST, waiting, wake
from papyra_flow.topology.model import StageSpec, Topology

EVERY_SECONDS = 0.5
TELL_EVERY_SECONDS = 60.0
_log = logging.getLogger("papyra_flow.stage")


class Waits:
    """Those of some stages; when `draining`, it says what the run waits for."""

    def __init__(self, topology: Topology, server: Server, stages: Sequence[StageSpec], *, draining: bool) -> None:
        self._topology = topology
        self._server = server
        self._stages = [stage for stage in stages if stage.replays]
        self._places = [(topology.keys.later(s.name), topology.streams[s.replays[0]].key) for s in self._stages]
        self._draining = draining
        self._tell_at = 0.0

    async def run(self) -> None:
        """Put back what is due, again and again, until cancelled; a server that does not answer changes nothing."""
        while self._places:
            moved = 0
            with suppress(ServerError):
                found = await wake(self._server.client, self._places)
                moved = max(moved for moved, _ in found)
                if self._draining and any(left for _, left in found):
                    await self._tell()
            await asyncio.sleep(0 if moved >= MOST else EVERY_SECONDS)

    async def _tell(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            self._tell_at = now + TELL_EVERY_SECONDS
            for line in await what_waits(self._server, self._topology, self._stages):
                _log.warning("%s: the run ends when they are done", line)


async def what_waits(server: Server, topology: Topology, stages: Sequence[StageSpec]) -> list[str]:
    """A sentence for each stage in which records wait."""
    found = await waiting(server.client, [topology.keys.later(stage.name) for stage in stages])
    return [
        f"{stage.name}: {one.records:,} {'record waits' if one.records == 1 else 'records wait'} for another attempt, "
        f"{'' if one.records == 1 else 'the first '}due in {format_duration(round(one.first))}"
        for stage, one in zip(stages, found, strict=True)
        if one.records
    ]
