"""When a stage's group is gone (NOGROUP): with all else of the pipeline, or alone.

A server that has lost everything (FLUSHALL, a failover to an empty replica) has lost the pipeline's marker too: its
groups are created anew, and the pipeline goes on with what comes next. A group that is gone while the marker is there
was destroyed by somebody, who should say what is to become of its records: the run stops with one sentence.
"""

from __future__ import annotations

import logging

from papyra_flow.errors import PipelineFailedError, WrongKeyTypeError
from papyra_flow.runtime.stage import StageRuntime
from papyra_flow.streams.groups import create_groups
from papyra_flow.streams.positions import look

_log = logging.getLogger("papyra_flow.stage")


async def regroup(stage: StageRuntime) -> None:
    """Create the pipeline's groups anew if the server has lost them all.

    Raises PipelineFailedError for one that somebody destroyed, WrongKeyTypeError for a stream that was replaced.
    """
    topology, wire = stage.around.topology, stage.around.server.wire
    if not await wire.call("EXISTS", topology.keys.applied):
        _log.warning("%s: the server has lost the pipeline's keys; creating its groups anew", stage.name)
        await create_groups(wire, topology.groups(), marker=topology.keys.applied)
        return
    positions = await look(wire, [stream.key for stream in stage.inputs])
    for found in positions.streams.values():
        if found.kind not in {"stream", "none"}:
            raise WrongKeyTypeError(f"{found.key} holds a {found.kind}: not a stream")
    if any(stage.spec.group not in position.groups for position in positions.streams.values()):
        raise PipelineFailedError(
            f"the group {stage.spec.group!r} of the stage {stage.name!r} was destroyed while it ran; "
            "run again to create it anew, from where `start` says"
        )
