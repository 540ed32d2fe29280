"""What is held before a stage: pending, waiting for another attempt, not read yet, or kept back by a pause."""

from __future__ import annotations

from papyra_flow.runtime.stage.stage import WorkerContext
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.model import StageSpec


class Upstream:
    """The stages that feed a stage, and those that feed them."""

    def __init__(self, context: WorkerContext, stage: StageSpec) -> None:
        self._context = context
        self._stages = [one for one in context.topology.upstream([stage.name]) if one.name != stage.name]

    async def holds_anything(self) -> bool:
        """Whether something that is still before the stage may come to it; raises ServerErrors."""
        topology, stages = self._context.topology, self._stages
        if any(self._context.pauses.holds(stage.name) for stage in stages):
            return True
        if not any(stage.inputs for stage in stages):
            return False
        keys = [topology.streams[name].key for stage in stages for name in stage.inputs]
        later = [topology.keys.later(stage.name) for stage in stages]
        positions = await look(self._context.server.client, list(dict.fromkeys([*keys, *later])))
        if any(positions.streams[key].kind == "zset" for key in later):
            return True
        return any(
            positions.streams[topology.streams[name].key].backlog([stage.group])
            for stage in stages
            for name in stage.inputs
        )
