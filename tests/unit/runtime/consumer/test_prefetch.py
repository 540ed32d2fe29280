"""Reading ahead: as far as `max_pending` and the next stream's room allow, and no further."""

from __future__ import annotations

import asyncio

from tests.harness.memory import MemoryServer
from tests.harness.pipelines import PipelineFolder
from tests.harness.stages import OUT, OneStage
from tests.harness.virtual_time import until


async def test_no_more_is_pending_than_max_pending_and_all_of_that_is_read(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory, "batch: {size: 10}, max_pending: 25, retry: {attempts: 100, backoff: 1h}")
    async with stage.start() as running:
        stage.step.bad.update(range(100))
        stage.put(*range(100))
        await until(lambda: running.counters.stages["a"].retried == 25)
        await asyncio.sleep(60)
        assert (len(stage.pending), running.counters.stages["a"].read) == (25, 25)


async def test_one_batch_is_read_ahead_while_another_is_processed(folder: PipelineFolder, memory: MemoryServer) -> None:
    stage = OneStage(folder, memory, "batch: {size: 10}")
    async with stage.start():
        go_on = stage.stop_steps()
        stage.put(*range(100))
        await until(lambda: len(stage.pending) == 20)
        await asyncio.sleep(60)
        assert len(stage.pending) == 20
        go_on.set()
        await until(lambda: len(stage.arrived) == 100)


async def test_a_batch_waits_for_more_as_long_as_it_may_and_not_for_a_full_one(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory, "batch: {size: 4, wait: 10s}")
    async with stage.start():
        await until(lambda: memory.arrived["XREADGROUP"])
        stage.put(1)
        await asyncio.sleep(5)
        stage.put(2)
        await asyncio.sleep(4)
        assert stage.step.batches == []
        await asyncio.sleep(2)
        assert stage.step.batches == [[1, 2]]
        stage.put(3)
        await asyncio.sleep(1)
        stage.put(4, 5, 6)
        await asyncio.sleep(1)
        assert stage.step.batches == [[1, 2], [3, 4, 5, 6]]


async def test_nothing_is_read_while_there_is_no_room_behind_and_all_once_there_is(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    behind = "b: {from: t, process: [{filter: n < 0}], to: u}"
    stage = OneStage(folder, memory, "batch: {size: 10}", "s: {}, t: {max_backlog: 40}", behind)
    memory.do("HSET", "{p}:@paused", "b", 1)
    async with stage.start():
        stage.put(*range(200))
        await asyncio.sleep(600)
        assert 40 <= len(stage.arrived) <= 40 + 10
        assert len(stage.pending) == 0
        memory.do("HDEL", "{p}:@paused", "b")
        await until(lambda: memory.stream(OUT).added == 200)


async def test_a_read_that_ends_with_the_run_delivers_nothing_afterwards(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory)
    async with stage.start() as running:
        await until(lambda: running.worker.at_rest)
        assert await running.stop() == "stopped"
        stage.put(*range(10))
        await asyncio.sleep(60)
        assert not stage.pending


async def test_a_read_under_way_when_its_connection_breaks_is_begun_again(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory)
    async with stage.start():
        await until(lambda: memory.arrived["XREADGROUP"])
        memory.cut_connections()
        stage.put(1)
        await until(lambda: stage.arrived == [1], seconds=20)
