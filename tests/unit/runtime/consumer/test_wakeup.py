"""The bell that a consumer waits for."""

from __future__ import annotations

import asyncio
import math

from papyra_flow.runtime.consumer.wakeup import Wakeup


async def test_who_waits_is_woken_by_the_bell() -> None:
    wakeup = Wakeup()
    waiting = asyncio.create_task(wakeup.wait(math.inf))
    await asyncio.sleep(0)
    assert not waiting.done()
    wakeup.ring()
    await waiting


async def test_a_bell_rung_before_is_not_missed_and_rings_once() -> None:
    wakeup = Wakeup()
    wakeup.ring()
    await wakeup.wait(math.inf)
    waiting = asyncio.create_task(wakeup.wait(math.inf))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_wait_ends_at_its_time_also_when_an_earlier_one_was_to_last_longer() -> None:
    loop, wakeup = asyncio.get_running_loop(), Wakeup()
    first = asyncio.create_task(wakeup.wait(loop.time() + 3600))
    await asyncio.sleep(0)
    wakeup.ring()
    await first
    await wakeup.wait(loop.time() + 0.01)
    await wakeup.wait(loop.time() - 1)
    wakeup.close()
