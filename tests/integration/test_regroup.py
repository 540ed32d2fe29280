"""What a group that is gone means: everything was lost, the group alone was destroyed, or its stream was replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis

from papyra_flow.errors import PipelineFailedError, WrongKeyTypeError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.runtime.consumer.group_repair import repair_group
from papyra_flow.runtime.process.run import apply_topology
from papyra_flow.runtime.services.backpressure import Gates
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.stage.stage import StageRuntime, WorkerContext
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.server import Server
from tests.harness.pipelines import PipelineFolder


@pytest.fixture
async def stage(folder: PipelineFolder, url: str) -> AsyncIterator[StageRuntime]:
    """A stage whose groups exist, and that does not run."""
    folder.pipeline("pipeline: p\nstages: {a: {from: s, to: t}}\nstreams: {s: {}}\n")
    topology, server = folder.topology(), Server(url)
    await apply_topology(server, topology)
    context = WorkerContext(
        topology, server, "test", Gates(), Keepalive(url), Trimmer(server.client, {}),
        Leases(server.client, "test", topology.keys.probe), Pauses(server.client, topology.keys.paused),
    )  # fmt: skip
    yield StageRuntime(topology.stages["a"], context, StageCounters())
    await server.close()


async def test_a_group_that_is_there_is_no_trouble(stage: StageRuntime) -> None:
    await repair_group(stage)


async def test_groups_of_a_server_that_lost_everything_are_created_anew(
    stage: StageRuntime, redis_client: redis.Redis
) -> None:
    redis_client.flushall()
    await repair_group(stage)
    assert [group["name"] for group in redis_client.xinfo_groups("{p}:s")] == [b"a"]


async def test_groups_that_are_created_again_begin_their_balance_again(
    stage: StageRuntime, redis_client: redis.Redis
) -> None:
    keys = stage.context.topology.keys
    redis_client.hset(keys.ledger, "base {p}:s a", "7")
    redis_client.xgroup_destroy("{p}:s", "a")
    redis_client.delete(keys.applied)
    await repair_group(stage)
    assert redis_client.hget(keys.ledger, "base {p}:s a") == b"0"


async def test_a_group_that_alone_is_gone_was_destroyed_by_somebody(
    stage: StageRuntime, redis_client: redis.Redis
) -> None:
    redis_client.xgroup_destroy("{p}:s", "a")
    with pytest.raises(PipelineFailedError, match="the group 'a' of the stage 'a' was destroyed while it ran"):
        await repair_group(stage)


async def test_a_stream_that_was_replaced_is_told_from_a_group_that_was_destroyed(
    stage: StageRuntime, redis_client: redis.Redis
) -> None:
    redis_client.set("{p}:s", "mine")
    with pytest.raises(WrongKeyTypeError, match="holds a string, not a stream"):
        await repair_group(stage)
