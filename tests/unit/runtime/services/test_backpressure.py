"""A gate: how much may be written before the server is asked again, and what opens it."""

from __future__ import annotations

import asyncio

import pytest

from papyra_flow.runtime.services.backpressure import LOOK_AGAIN_SECONDS, Gate
from tests.harness.memory import MemoryServer

KEY = "{p}:s"


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def gate(memory: MemoryServer, stopping: asyncio.Event) -> Gate:
    memory.do("XGROUP", "CREATE", KEY, "g", "0", "MKSTREAM")
    return Gate(memory.client(), keys=[KEY], groups=["g"], limit=100, stopping=stopping)


def write(memory: MemoryServer, records: int) -> None:
    memory.do_all([("XADD", KEY, "*", "data", "x")] * records)


async def test_half_of_what_is_free_is_granted_by_one_look(memory: MemoryServer, gate: Gate) -> None:
    write(memory, 40)
    await gate.room()
    assert (gate.open, memory.arrived["positions"]) == (True, 1)
    for _ in range(3):
        gate.spend(10)
        await gate.room()
    assert memory.arrived["positions"] == 2, "30 were granted"


async def test_what_was_read_and_is_not_written_yet_takes_its_room(memory: MemoryServer, gate: Gate) -> None:
    write(memory, 40)
    gate.reserve(60)
    waiting = asyncio.create_task(gate.room())
    await asyncio.sleep(60)
    assert not waiting.done()
    gate.spend(0, 60)  # all of it was dropped
    await waiting


async def test_a_full_stream_is_waited_for_and_a_reader_here_opens_it_at_once(memory: MemoryServer, gate: Gate) -> None:
    write(memory, 100)
    waiting = asyncio.create_task(gate.room())
    await asyncio.sleep(60)
    assert not waiting.done()
    memory.deliver(KEY, b"g", "c", 100)
    group = memory.stream(KEY).groups[b"g"]
    group.pending.clear()
    gate.relieve()
    started = asyncio.get_running_loop().time()
    await waiting
    assert asyncio.get_running_loop().time() == started


async def test_a_reader_elsewhere_opens_it_with_the_next_look(memory: MemoryServer, gate: Gate) -> None:
    write(memory, 100)
    waiting = asyncio.create_task(gate.room())
    await asyncio.sleep(60)
    memory.deliver(KEY, b"g", "c", 100)
    memory.stream(KEY).groups[b"g"].pending.clear()
    await asyncio.sleep(LOOK_AGAIN_SECONDS)
    assert waiting.done()


async def test_nothing_is_waited_for_when_the_process_is_to_stop(
    memory: MemoryServer, gate: Gate, stopping: asyncio.Event
) -> None:
    write(memory, 100)
    waiting = asyncio.create_task(gate.room())
    await asyncio.sleep(1)
    stopping.set()
    await asyncio.sleep(LOOK_AGAIN_SECONDS)
    assert waiting.done()


async def test_deleted_entries_that_the_server_counts_do_not_keep_it_closed(memory: MemoryServer, gate: Gate) -> None:
    write(memory, 150)
    ids = list(memory.stream(KEY).entries)
    memory.do("XDEL", KEY, *(b"%d-%d" % id_ for id_ in ids[50:]))
    async with asyncio.timeout(10):
        await gate.room()
    assert gate.open


async def test_partitions_have_one_limit_together(memory: MemoryServer, stopping: asyncio.Event) -> None:
    keys = [f"{{p/{number}}}:s" for number in range(3)]
    for key in keys:
        memory.do("XGROUP", "CREATE", key, "g", "0", "MKSTREAM")
        memory.do_all([("XADD", key, "*", "data", "x")] * 30)
    gate = Gate(memory.client(), keys=keys, groups=["g"], limit=90, stopping=stopping)
    waiting = asyncio.create_task(gate.room())
    await asyncio.sleep(60)
    assert not waiting.done()
    memory.deliver(keys[1], b"g", "c", 30)
    memory.stream(keys[1]).groups[b"g"].pending.clear()
    gate.relieve()
    await waiting
    assert gate.open
