"""Entries whose consumer is gone: who takes them over, when, in which portions, and what becomes of a killer."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from papyra_flow.runtime.consumer import consumer_names
from papyra_flow.runtime.consumer.quarantine import Quarantine
from tests.harness.memory import MemoryServer
from tests.harness.pipelines import PipelineFolder
from tests.harness.stages import OneStage
from tests.harness.virtual_time import until

ELSEWHERE = "elsewhere.7.a.0"


@pytest.fixture
def stage(folder: PipelineFolder, memory: MemoryServer) -> OneStage:
    return OneStage(folder, memory, "batch: {size: 64}, claim_after: 60s")


async def test_entries_of_a_silent_consumer_are_taken_over_after_the_claim_time_and_not_before(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.deliver(ELSEWHERE, 10)
    async with stage.start() as running:
        await asyncio.sleep(59)
        assert stage.arrived == []
        await asyncio.sleep(60)
        assert stage.arrived == list(range(10))
        assert running.counters.stages["a"].claimed == 10


async def test_entries_that_are_refreshed_are_left_to_their_consumer(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.deliver(ELSEWHERE, 10)
    async with stage.start():
        for _ in range(20):
            await asyncio.sleep(20)
            for entry in stage.pending.values():
                entry.at = stage.memory.now()
        assert stage.arrived == []


async def test_entries_of_a_dead_process_of_this_host_are_taken_over_at_once(
    stage: OneStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put(*range(300))
    dead = os.getpid() + 1
    monkeypatch.setattr(consumer_names, "is_alive", lambda pid: pid != dead)
    stage.deliver(f"{socket.gethostname()}.{dead}.a.0", 300)
    async with stage.start():
        await until(lambda: len(stage.arrived) == 300, seconds=5)
        assert stage.arrived == list(range(300))
        assert len(list(stage.names())) == 1


async def test_what_was_pending_for_this_very_consumer_is_taken_up_first(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.deliver("me.a.0", 5)
    async with stage.start(consumer_name="me") as running:
        await until(lambda: len(stage.arrived) == 10, seconds=5)
        assert stage.arrived == list(range(10))
        assert running.counters.stages["a"].claimed == 0


async def test_entries_of_the_dead_whose_age_stands_still_are_taken_over(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.deliver(ELSEWHERE, 10, idle=-100_000.0)  # the server's clock went back by a day
    async with stage.start():
        await until(lambda: len(stage.arrived) == 10, seconds=60 * 5)


async def test_a_consumer_without_entries_that_stays_silent_is_removed(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.deliver(ELSEWHERE, 10)
    async with stage.start():
        await until(lambda: len(stage.arrived) == 10)
        assert ELSEWHERE.encode() in stage.names()
        await asyncio.sleep(60 * 12)
        assert ELSEWHERE.encode() not in stage.names()


@pytest.mark.parametrize(("times", "together"), [(1, 16), (2, 2), (3, 1), (4, 1)])
async def test_the_more_often_entries_were_delivered_the_fewer_are_tried_together(
    stage: OneStage, times: int, together: int
) -> None:
    stage.put(*range(32))
    stage.deliver(ELSEWHERE, 32, times=times, idle=100)
    async with stage.start():
        await until(lambda: len(stage.arrived) == 32)
        assert {len(batch) for batch in stage.step.batches} == {together}
        assert stage.arrived == list(range(32))


async def test_a_killer_alone_is_dead_and_is_never_tried_again(stage: OneStage) -> None:
    stage.put(*range(20))
    stage.deliver(ELSEWHERE, 10, times=2, idle=100)
    stage.deliver(ELSEWHERE, 1, times=5, idle=100)
    stage.deliver(ELSEWHERE, 9, times=2, idle=100)
    async with stage.start() as running:
        await until(lambda: len(stage.arrived) == 19)
        await until(lambda: stage.dead)
        assert stage.dead == [10]
        assert stage.arrived == [n for n in range(20) if n != 10]
        assert all(10 not in batch for batch in stage.step.batches)
        assert running.counters.stages["a"].dead == 1


async def test_suspects_count_as_delivered_only_when_they_are_tried(stage: OneStage) -> None:
    stage.put(*range(32))
    stage.deliver(ELSEWHERE, 32, idle=100)
    async with stage.start():
        go_on = stage.stop_steps()
        await until(lambda: stage.step.batches)
        assert sorted(entry.times for entry in stage.pending.values()) == [1] * 16 + [2] * 16
        go_on.set()
        await until(lambda: len(stage.arrived) == 32)


async def test_suspects_are_not_forgotten_when_the_connection_breaks_while_they_are_taken(stage: OneStage) -> None:
    stage.put(*range(10))
    stage.deliver(ELSEWHERE, 10, idle=100)
    stage.memory.lose_command("XCLAIM")
    stage.memory.lose_reply("XAUTOCLAIM")
    async with stage.start():
        await until(lambda: len(stage.arrived) == 10)
        assert stage.arrived == list(range(10))


async def test_suspects_of_one_consumer_wait_until_those_of_another_are_committed(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory, "batch: {size: 4}, consumers: 2, claim_after: 1h")
    stage.put(*range(200))
    stage.deliver(ELSEWHERE, 200, idle=7200)
    async with stage.start():
        go_on = stage.stop_steps()
        await until(lambda: stage.step.batches)
        await asyncio.sleep(60)  # both consumers have found some
        assert [entry.times for entry in stage.pending.values()].count(2) == 1
        go_on.set()
        await until(lambda: len(stage.arrived) == 200)


# -- the quarantine by itself -----------------------------------------------------------------------------------------


def ids(*numbers: int) -> list[bytes]:
    return [b"%d-0" % n for n in numbers]


def test_suspects_come_out_in_the_streams_order_whoever_had_them_and_each_once() -> None:
    quarantine = Quarantine(64)
    assert quarantine.add((id_, 2) for id_ in ids(10, 11)) == 2
    assert quarantine.add((id_, 2) for id_ in ids(2, 10)) == 1
    assert [id_ for id_, _ in quarantine.next_batch()] == ids(2, 10)
    assert [id_ for id_, _ in quarantine.next_batch()] == ids(11)
    assert quarantine.next_batch() == []


def test_one_that_was_delivered_often_is_alone_also_between_others() -> None:
    quarantine = Quarantine(64)
    quarantine.add([(b"1-0", 1), (b"2-0", 1), (b"3-0", 4), (b"4-0", 1)])
    assert [[id_ for id_, _ in quarantine.next_batch()] for _ in range(3)] == [ids(1, 2), ids(3), ids(4)]
