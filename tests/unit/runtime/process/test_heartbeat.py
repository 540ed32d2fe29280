"""Reports of a process: when it has something to tell, now and then when it has not, and none after its end."""

from __future__ import annotations

import asyncio

import pytest

from papyra_flow.observe.counters import RunCounters
from papyra_flow.observe.reports import EVERY_SECONDS, GONE_AFTER_SECONDS, read_reports
from papyra_flow.runtime.process.heartbeat import Heartbeat
from papyra_flow.runtime.services.timing import ServerClock
from tests.harness.memory import MemoryServer

KEY = "{p}:@workers"


@pytest.fixture
def counters() -> RunCounters:
    return RunCounters.of(["a"])


@pytest.fixture
async def heartbeat(memory: MemoryServer, counters: RunCounters) -> Heartbeat:
    return Heartbeat(memory.client(), KEY, "host.1", counters, ServerClock())


async def test_it_tells_what_is_new_and_else_only_that_it_is_alive(
    memory: MemoryServer, heartbeat: Heartbeat, counters: RunCounters
) -> None:
    running = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(1)
    assert memory.arrived["HSET"] == 1
    counters.stages["a"].read = 7
    await asyncio.sleep(EVERY_SECONDS)
    (report,) = await read_reports(memory.client(), KEY)
    assert (report.worker, report.counters.stages["a"].read, memory.arrived["HSET"]) == ("host.1", 7, 2)
    await asyncio.sleep(10 * GONE_AFTER_SECONDS)
    assert 2 + 10 <= memory.arrived["HSET"] <= 2 + 10 * 3, "often enough to count as alive, and no more"
    assert len(await read_reports(memory.client(), KEY)) == 1
    running.cancel()


async def test_a_server_that_is_away_is_no_reason_to_end(memory: MemoryServer, heartbeat: Heartbeat) -> None:
    memory.away = True
    running = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(60)
    memory.away = False
    await asyncio.sleep(EVERY_SECONDS)
    assert not running.done()
    assert len(await read_reports(memory.client(), KEY)) == 1
    running.cancel()


async def test_one_that_ended_is_gone_at_once_and_one_that_died_after_a_while(
    memory: MemoryServer, heartbeat: Heartbeat
) -> None:
    running = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(1)
    running.cancel()
    assert len(await read_reports(memory.client(), KEY)) == 1
    await asyncio.sleep(GONE_AFTER_SECONDS + 1)
    assert await read_reports(memory.client(), KEY) == []
    await heartbeat.leave()
    assert memory.do("EXISTS", KEY) == 0
