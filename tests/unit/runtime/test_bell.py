"""The bell that a consumer waits for."""

from __future__ import annotations

import asyncio
import math

from papyra_flow.runtime.bell import Bell


async def test_who_waits_is_woken_by_the_bell() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(math.inf))
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_a_bell_rung_before_is_not_missed_and_rings_once() -> None:
    bell = Bell()
    bell.ring()
    await bell.wait(math.inf)
    waiting = asyncio.create_task(bell.wait(math.inf))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_wait_ends_at_its_time_also_when_an_earlier_one_was_to_last_longer() -> None:
    loop, bell = asyncio.get_running_loop(), Bell()
    first = asyncio.create_task(bell.wait(loop.time() + 3600))
    await asyncio.sleep(0)
    bell.ring()
    await first
    await bell.wait(loop.time() + 0.01)
    await bell.wait(loop.time() - 1)
    bell.close()
