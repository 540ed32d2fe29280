"""One batch of suspects at a time: turns that are waited for, but not for ever, and not beyond the end."""

from __future__ import annotations

import asyncio

import pytest

from papyra_flow.runtime.consumer.quarantine import QuarantineTurn


@pytest.fixture
def shared() -> asyncio.Lock:
    return asyncio.Lock()


async def test_one_has_the_turn_and_the_next_gets_it_when_it_ends(shared: asyncio.Lock) -> None:
    stopping, one, other = asyncio.Event(), QuarantineTurn(shared, 60), QuarantineTurn(shared, 60)
    await one.begin(stopping)
    waiting = asyncio.create_task(other.begin(stopping))
    await asyncio.wait([waiting], timeout=0.05)
    assert (one.ours, other.ours) == (True, False)
    one.end()
    await waiting
    assert (one.ours, other.ours) == (False, True)
    one.end()
    assert shared.locked(), "ending what is not ours changes nothing"


async def test_no_turn_is_waited_for_longer_than_allowed(shared: asyncio.Lock) -> None:
    stopping, one, other = asyncio.Event(), QuarantineTurn(shared, 60), QuarantineTurn(shared, 0.01)
    await one.begin(stopping)
    await other.begin(stopping)
    assert not other.ours
    other.end()
    assert one.ours
    assert shared.locked()


async def test_no_turn_is_waited_for_beyond_the_end_and_a_turn_that_is_given_up_is_free(shared: asyncio.Lock) -> None:
    stopping, one, other = asyncio.Event(), QuarantineTurn(shared, 60), QuarantineTurn(shared, 3600)
    await one.begin(stopping)
    waiting = asyncio.create_task(other.begin(stopping))
    stopping.set()
    await waiting
    assert not other.ours
    one.end()
    assert not shared.locked()


async def test_a_waiter_that_is_cancelled_leaves_the_turn_free(shared: asyncio.Lock) -> None:
    stopping, one, other = asyncio.Event(), QuarantineTurn(shared, 60), QuarantineTurn(shared, 3600)
    await one.begin(stopping)
    waiting = asyncio.create_task(other.begin(stopping))
    await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    one.end()
    await other.begin(stopping)
    assert other.ours
