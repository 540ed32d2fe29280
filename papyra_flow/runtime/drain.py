"""Draining: a bounded run ends exactly when everything has arrived (invariant I7).

A forward and its ack are one step, so at any moment every record is somewhere: not read yet, not delivered yet,
or pending. One consistent look at all streams and leases that finds nothing of the kind is therefore the end.
Looks are taken when this process has come to rest, and from then on a timer covers what others still do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from papyra_flow.runtime.stage import Surroundings
from papyra_flow.streams.patience import Patience
from papyra_flow.streams.positions import Positions, look
from papyra_flow.topology.model import StageSpec, Topology

LOOK_AGAIN_SECONDS = 0.25


def upstream(topology: Topology, stages: Iterable[str]) -> list[StageSpec]:
    """These stages and all that feed them: what has to be drained before they are."""
    found: dict[str, StageSpec] = {}
    waiting = list(stages)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = topology.stages[name]
            waiting += [writer for stream in found[name].inputs for writer in topology.streams[stream].writers]
    return [stage for stage in topology.stages.values() if stage.name in found]


def is_drained(topology: Topology, stages: Iterable[StageSpec], positions: Positions) -> bool:
    """Whether nothing is left to do for these stages."""
    for stage in stages:
        if stage.source is not None and stage.source.bounded and not positions.leases[stage.source_lease].done:
            return False
        later = positions.streams.get(topology.keys.later(stage.name))
        if later is not None and later.kind == "zset":  # records wait there for another attempt
            return False
        for name in stage.inputs:
            stream = positions.streams[topology.streams[name].key]
            if stream.length and stream.backlog([stage.group]):
                return False
            if stage.group in stream.groups and stream.groups[stage.group].pending:
                return False
    return True


class Drain:
    """Waits for the end; `at_rest` says whether this process has nothing in hand."""

    def __init__(self, around: Surroundings, stages: Iterable[str], at_rest: Callable[[], bool]) -> None:
        self._around = around
        self._at_rest = at_rest
        self._stages = upstream(around.topology, stages)
        topology = around.topology
        self._keys = [topology.streams[name].key for stage in self._stages for name in stage.inputs]
        self._keys += [topology.keys.later(stage.name) for stage in self._stages if stage.inputs]
        self._leases = [stage.source_lease for stage in self._stages if stage.source is not None]
        self._patience = Patience("draining")

    async def wait(self) -> None:
        """Return when all is drained."""
        activity = self._around.activity
        while True:
            activity.clear()
            if self._at_rest() and await self._drained():
                return
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS if self._at_rest() else None):
                    await activity.wait()
            except TimeoutError:
                continue

    async def _drained(self) -> bool:
        positions = await self._patience.keep_trying(lambda: look(self._around.server.wire, self._keys, self._leases))
        return is_drained(self._around.topology, self._stages, positions)
