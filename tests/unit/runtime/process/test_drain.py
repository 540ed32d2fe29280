"""A run that drains ends exactly when all has arrived (I7): not before, and not never."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.memory import MemoryServer
from tests.harness.memory.streams import show_id
from tests.harness.pipelines import PipelineFolder, Running
from tests.harness.stages import IN, OneStage
from tests.harness.virtual_time import until

ELSEWHERE = "elsewhere.7.a.0"


@pytest.fixture
def stage(folder: PipelineFolder, memory: MemoryServer) -> OneStage:
    return OneStage(folder, memory, "batch: {size: 10}, claim_after: 1h, retry: {backoff: 30s..30s}")


async def ended(running: Running) -> str:
    assert running.task is not None
    async with asyncio.timeout(600):
        return await running.task


async def test_it_ends_at_once_where_there_is_nothing(stage: OneStage) -> None:
    async with stage.start(drain=True) as running:
        assert await ended(running) == "drained"


async def test_it_does_not_end_before_the_last_commit_is_made(stage: OneStage) -> None:
    stage.put(*range(10))
    held = stage.memory.hold("commit")
    async with stage.start(drain=True) as running:
        await held.arrived.wait()
        await asyncio.sleep(20)
        assert not running.ended
        held.release()
        assert await ended(running) == "drained"
    assert stage.arrived == list(range(10))


async def test_it_does_not_end_before_a_step_has_come_to_its_end(stage: OneStage) -> None:
    stage.put(*range(10))
    async with stage.start(drain=True) as running:
        go_on = stage.stop_steps()
        await asyncio.sleep(600)
        assert not running.ended
        go_on.set()
        assert await ended(running) == "drained"
    assert stage.arrived == list(range(10))


async def test_it_waits_for_another_attempt(stage: OneStage) -> None:
    stage.put(1)
    async with stage.start(drain=True) as running:
        stage.step.bad.add(1)
        await until(lambda: running.counters.stages["a"].retried)
        await asyncio.sleep(10)
        assert not running.ended
        stage.step.bad.clear()
        assert await ended(running) == "drained"
    assert stage.arrived == [1]


async def test_it_waits_for_what_others_have_in_hand(stage: OneStage) -> None:
    stage.put(*range(10))
    held = stage.deliver(ELSEWHERE, 10)
    async with stage.start(drain=True) as running:
        await asyncio.sleep(600)
        assert not running.ended
        stage.memory.do("XACK", IN, "a", *map(show_id, held))
        assert await ended(running) == "drained"


async def test_it_waits_for_records_that_are_to_come_back_later(stage: OneStage) -> None:
    later = stage.topology.keys.later("a")
    async with stage.start(drain=True) as running:
        stage.memory.do("ZADD", later, "NX", 2 * stage.memory.now(), "what waits")
        await asyncio.sleep(600)
        assert not running.ended
        stage.memory.do("ZREM", later, "what waits")
        assert await ended(running) == "drained"


async def test_it_waits_for_a_paused_stage(stage: OneStage) -> None:
    stage.put(0)
    held = stage.deliver(ELSEWHERE, 1)
    stage.memory.do("HSET", "{p}:@paused", "a", 1)
    async with stage.start(drain=True) as running:
        await asyncio.sleep(10)  # reads from before it was paused are over
        stage.put(1)
        stage.memory.do("XACK", IN, "a", *map(show_id, held))
        await asyncio.sleep(600)
        assert not running.ended
        stage.memory.do("HDEL", "{p}:@paused", "a")
        assert await ended(running) == "drained"
    assert stage.arrived == [1]


async def test_a_lag_that_the_server_does_not_know_neither_ends_it_nor_keeps_it(stage: OneStage) -> None:
    stage.put(*range(30))
    entries = list(stage.memory.stream(IN).entries)
    stage.memory.do("XDEL", IN, show_id(entries[15]))
    stage.memory.do("XDEL", IN, show_id(entries[29]))
    async with stage.start(drain=True) as running:
        assert await ended(running) == "drained"
    assert stage.arrived == [n for n in range(30) if n not in {15, 29}]


async def test_a_look_that_meets_a_broken_connection_is_taken_again(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.memory.lose_reply("positions", times=3)
    async with stage.start(drain=True) as running:
        assert await ended(running) == "drained"
    assert stage.arrived == list(range(10))
