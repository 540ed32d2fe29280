"""When a stage's group is gone (NOGROUP): with all else of the pipeline, or alone.

A server that has lost everything (FLUSHALL, a failover to an empty replica) has lost the pipeline's marker too: its
groups are created again, and the pipeline continues with new entries; the run's audit reports what was lost. A group
that is gone while the marker is there was destroyed, or deleted or evicted with its stream; and a pipeline may be
destroyed under its workers. Then the run stops with one sentence.
"""

from __future__ import annotations

import logging

from papyra_flow.errors import PipelineFailedError, WrongKeyTypeError
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.admin.eviction import eviction_words
from papyra_flow.streams.commit.ledger import reopen
from papyra_flow.streams.groups.lifecycle import create_groups
from papyra_flow.streams.groups.snapshot import look

_log = logging.getLogger("papyra_flow.stage")


async def repair_group(stage: StageRuntime) -> None:
    """Create the pipeline's groups again if the server has lost them all.

    Raises PipelineFailedError for one that was destroyed or deleted, WrongKeyTypeError for a stream that was replaced.
    """
    topology, client = stage.context.topology, stage.context.server.client
    keys = topology.keys
    if await client.call("EXISTS", keys.destroyed):
        raise PipelineFailedError("the pipeline was removed from the server (`papyra-flow destroy`) while it ran")
    if not await client.call("EXISTS", keys.applied):
        _log.warning("%s: the server lost the pipeline's keys; recreating its groups", stage.name)
        await reopen(client, keys.ledger, await create_groups(client, topology.groups(), marker=keys.applied))
        return
    positions = await look(client, [stream.key for stream in stage.inputs])
    for found in positions.streams.values():
        if found.kind not in {"stream", "none"}:
            raise WrongKeyTypeError(f"{found.key} holds a {found.kind}, not a stream")
        if found.kind == "none":
            raise PipelineFailedError(
                f"the stream {found.key} was deleted or evicted while it ran, and with it the group "
                f"{stage.spec.group!r} of {stage.name!r}{await eviction_words(client)}; run again to create them"
            )
    if any(stage.spec.group not in position.groups for position in positions.streams.values()):
        raise PipelineFailedError(
            f"the group {stage.spec.group!r} of the stage {stage.name!r} was destroyed while it ran; "
            "run again to create it, from where `start` says"
        )
