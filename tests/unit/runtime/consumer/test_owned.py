"""A stage whose partitions have owners: in order, by position, once; whatever server and owners meet."""

from __future__ import annotations

import asyncio
import json

import pytest

from papyra_flow.errors import PipelineFailedError
from tests.harness.memory import MemoryServer
from tests.harness.memory.streams import show_id
from tests.harness.pipelines import PipelineFolder, Running
from tests.harness.stages import GROUP, IN, OUT, OneStage
from tests.harness.virtual_time import until

OOM = "OOM command not allowed when used memory > 'maxmemory'."
LEASE, MEMBERS = b"{p}:@owner:a", b"{p}:@owners:a"


def one_stage(folder: PipelineFolder, memory: MemoryServer, settings: str) -> OneStage:
    """The stage with these settings, whose input keeps what was put in."""
    return OneStage(folder, memory, settings, "s: {retain: all}")


@pytest.fixture
def stage(folder: PipelineFolder, memory: MemoryServer) -> OneStage:
    return one_stage(folder, memory, "ordered: true, batch: {size: 10}, claim_after: 10s")


def lease(stage: OneStage) -> dict[str, str]:
    """What the lease of the only partition holds."""
    return {name.decode(): value.decode() for name, value in stage.memory.hash_of(LEASE).items()}


def position(stage: OneStage) -> bytes:
    return show_id(stage.memory.stream(IN).groups[GROUP].last)


def all_of(stage: OneStage) -> None:
    """What was put in has come out once and in order, and the group stands at its end."""
    put = [json.loads(fields[1])["n"] for fields in stage.memory.stream(IN).entries.values()]
    assert stage.arrived == put
    assert (position(stage), stage.pending) == (show_id(stage.memory.stream(IN).last), {})


# -- the position -----------------------------------------------------------------------------------------------------


async def test_the_group_moves_with_what_leaves_and_nothing_is_ever_pending(stage: OneStage) -> None:
    stage.put(*range(35))
    held = stage.memory.hold("own_commit")
    async with stage.start() as running:
        await held.arrived.wait()
        assert (stage.arrived, position(stage), stage.pending) == ([], b"0-0", {})
        await until(lambda: len(stage.step.batches) == 2)  # the next one is processed meanwhile
        held.release()
        await until(lambda: len(stage.arrived) == 35)
        assert running.counters.stages["a"].read == 35
        groups = stage.memory.do("XINFO", "GROUPS", IN)
        assert isinstance(groups, list)
        assert isinstance(groups[0], list)
        facts = dict(zip(groups[0][::2], groups[0][1::2], strict=True))
        assert (facts[b"entries-read"], facts[b"lag"]) == (35, 0)
    all_of(stage)


async def test_order_is_kept_whatever_commits_and_reads_meet(stage: OneStage) -> None:
    stage.put(*range(100))
    stage.memory.refuse("own_commit", OOM, times=3)
    stage.memory.lose_command("own_commit")
    stage.memory.lose_reply("own_commit")
    stage.memory.lose_command("XREAD")
    stage.memory.lose_reply("XREAD")
    stage.memory.lose_reply("own_take")
    stage.memory.lose_reply("own_share")
    async with stage.start() as running:
        await until(lambda: len(stage.arrived) == 100)
        counters = running.counters.stages["a"]
        assert (counters.stale, counters.emitted["t"]) == (0, 100)
    all_of(stage)


async def test_portions_of_a_commit_whose_replies_were_lost_are_done_once(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = one_stage(folder, memory, "ordered: true, batch: {size: 1000}")
    stage.put(*range(1000))
    async with stage.start() as running:
        held = memory.hold("own_commit")
        await held.arrived.wait()
        held.release()
        for _ in range(2):
            memory.lose_reply("own_commit")
        await until(lambda: len(stage.arrived) == 1000)
        await asyncio.sleep(5)
        assert lease(stage)["epoch"] == "1", "the owner went on"
        assert running.counters.stages["a"].emitted["t"] == 1000
    all_of(stage)


async def test_a_server_that_is_away_for_a_while_is_waited_for(stage: OneStage) -> None:
    async with stage.start():
        await until(lambda: stage.memory.arrived["XREAD"])
        stage.memory.away = True
        stage.memory.cut_connections()
        stage.put(*range(20))
        await asyncio.sleep(20)
        assert stage.arrived == []
        stage.memory.away = False
        await until(lambda: len(stage.arrived) == 20)
    all_of(stage)


async def test_a_paused_stage_takes_nothing_until_it_goes_on(stage: OneStage) -> None:
    async with stage.start():
        stage.put(0)
        await until(lambda: stage.arrived == [0])
        stage.memory.do("HSET", "{p}:@paused", "a", 1)
        await asyncio.sleep(10)
        stage.put(*range(1, 10))
        await asyncio.sleep(600)
        assert stage.arrived == [0]
        stage.memory.do("HDEL", "{p}:@paused", "a")
        await until(lambda: len(stage.arrived) == 10)
    all_of(stage)


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_what_waits_for_another_attempt_holds_what_is_behind_it(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = one_stage(folder, memory, "ordered: true, batch: {size: 10}, retry: {attempts: 4, backoff: 1h..1h}")
    async with stage.start() as running:
        await until(lambda: memory.arrived["XREAD"])
        stage.step.bad.add(3)
        stage.put(*range(30))
        await until(lambda: running.counters.stages["a"].retried == 1)
        assert stage.arrived == [0, 1, 2]
        await asyncio.sleep(600)
        assert stage.arrived == [0, 1, 2]
        stage.step.bad.clear()
        await until(lambda: len(stage.arrived) == 30, seconds=2 * 3600)
    all_of(stage)


async def test_after_its_attempts_it_is_dead_and_the_rest_goes_on(folder: PipelineFolder, memory: MemoryServer) -> None:
    stage = one_stage(folder, memory, "ordered: true, batch: {size: 10}, retry: {attempts: 4, backoff: 1s..10s}")
    async with stage.start() as running:
        await until(lambda: memory.arrived["XREAD"])
        stage.step.bad.update({3, 4, 17})
        stage.put(*range(30))
        await until(lambda: len(stage.arrived) == 27)
        counters = running.counters.stages["a"]
        assert (counters.retried, counters.dead, stage.dead) == (9, 3, [3, 4, 17])
    assert stage.arrived == [n for n in range(30) if n not in {3, 4, 17}]


async def test_a_halt_commits_what_is_before_it_and_leaves_the_rest(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = one_stage(folder, memory, "ordered: true, batch: {size: 10}, retry: {attempts: 1}, on_error: halt")
    running = stage.start()
    async with running:
        await until(lambda: memory.arrived["XREAD"])
        stage.step.bad.add(13)
        stage.put(*range(20))
        await until(lambda: running.ended)
        assert running.task is not None
        assert isinstance(running.task.exception(), PipelineFailedError)
        running.task = None
    assert (stage.arrived, stage.dead, lease(stage)["owner"]) == (list(range(13)), [], "")
    async with stage.start():
        stage.step.bad.clear()
        await until(lambda: len(stage.arrived) == 20)
    all_of(stage)


# -- the server loses, or is told by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize("idle", [True, False])
async def test_commits_that_a_failover_lost_are_made_again(stage: OneStage, idle: bool) -> None:
    """The replica knows less than was confirmed; also an owner that has nothing more to commit finds that out."""
    async with stage.start():
        stage.put(*range(5))
        await until(lambda: len(stage.arrived) == 5)
        before = stage.memory.copy()
        stage.put(*range(5, 15))
        await until(lambda: len(stage.arrived) == 15)
        stage.memory.become(before)
        stage.put(*range(5, 15))
        if not idle:
            stage.put(15)
        await until(lambda: len(stage.arrived) == (15 if idle else 16), seconds=30)
    all_of(stage)


async def test_a_group_that_was_moved_by_hand_goes_on_from_there_also_when_nothing_new_comes(stage: OneStage) -> None:
    async with stage.start():
        stage.put(*range(10))
        await until(lambda: len(stage.arrived) == 10)
        third = show_id(sorted(stage.memory.stream(IN).entries)[2])
        stage.memory.do("XGROUP", "SETID", IN, GROUP, third)
        await until(lambda: len(stage.arrived) == 17, seconds=30)
        assert stage.arrived == [*range(10), *range(3, 10)]


async def test_a_group_that_is_moved_while_a_commit_is_under_way_is_not_moved_back(stage: OneStage) -> None:
    stage.put(*range(20))
    held = stage.memory.hold("own_commit")
    async with stage.start():
        await held.arrived.wait()
        stage.memory.do("XGROUP", "SETID", IN, GROUP, show_id(sorted(stage.memory.stream(IN).entries)[14]))
        held.release()
        await until(lambda: len(stage.arrived) == 5)
    assert stage.arrived == list(range(15, 20))


async def test_groups_that_went_with_all_else_are_created_again(stage: OneStage) -> None:
    async with stage.start():
        stage.put(1)
        await until(lambda: stage.arrived == [1])
        stage.memory.forget_all()
        await until(lambda: stage.memory.stream(IN).groups)
        stage.put(2, 3)
        await until(lambda: stage.arrived == [2, 3])
    all_of(stage)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (("XGROUP", "DESTROY", IN, "a"), "the group 'a' of the stage 'a' was destroyed while it ran"),
        (("DEL", IN), "the stream {p}:s was deleted or evicted while it ran"),
    ],
)
async def test_a_group_that_was_taken_away_ends_the_run_with_one_sentence(
    stage: OneStage, what: tuple[str, ...], told: str
) -> None:
    async with stage.start() as running:
        await until(lambda: stage.memory.arrived["XREAD"])
        stage.memory.do(*what)
        await until(lambda: running.ended, seconds=60)
        assert running.task is not None
        assert told in str(running.task.exception())
        running.task = None


async def test_a_lease_that_was_lost_alone_does_not_let_in_who_had_it(stage: OneStage) -> None:
    async with stage.start():
        stage.put(*range(10))
        await until(lambda: len(stage.arrived) == 10)
        stage.memory.do("DEL", LEASE)
        stage.put(*range(10, 20))
        await until(lambda: len(stage.arrived) == 20)
        assert lease(stage)["epoch"] == "2"
    all_of(stage)


# -- another owner ----------------------------------------------------------------------------------------------------


async def test_who_lost_the_lease_while_a_commit_was_under_way_commits_nothing(stage: OneStage) -> None:
    stage.put(*range(20))
    held = stage.memory.hold("own_commit")
    async with stage.start():
        await held.arrived.wait()
        stage.memory.do("HINCRBY", LEASE, "epoch", 1)
        stage.memory.do("HSET", LEASE, "owner", "elsewhere.7.a.0", "beat", stage.memory.now())
        held.release()
        await asyncio.sleep(5)
        assert (stage.arrived, position(stage)) == ([], b"0-0")
        await until(lambda: len(stage.arrived) == 20, seconds=60)  # the other one has gone silent
        assert lease(stage)["epoch"] == "3"
    all_of(stage)


async def test_an_epoch_that_came_again_after_a_failover_is_not_taken_for_ones_own(stage: OneStage) -> None:
    stage.put(*range(10))
    held = stage.memory.hold("own_commit")
    async with stage.start():
        await held.arrived.wait()
        stage.memory.do("HSET", LEASE, "owner", "elsewhere.7.a.0", "beat", stage.memory.now(), "commits", 1)
        held.release()
        await asyncio.sleep(5)
        assert stage.arrived == []


async def test_a_stop_lets_go_and_the_next_owner_begins_at_once_and_without_care(stage: OneStage) -> None:
    async with stage.start() as running:
        stage.put(*range(10))
        await until(lambda: len(stage.arrived) == 10)
        await running.stop()
    assert lease(stage)["owner"] == ""
    assert stage.memory.do("EXISTS", MEMBERS) == 0
    async with stage.start():
        stage.put(*range(10, 30))
        await until(lambda: len(stage.arrived) == 30, seconds=1)
        assert "limit" not in lease(stage) or lease(stage)["limit"] == "0"
    all_of(stage)


def left_by_one_that_died(stage: OneStage, times: int = 1) -> None:
    """As if so many owners had died, one after the other."""
    for _ in range(times):
        stage.memory.do("HINCRBY", LEASE, "epoch", 1)
        stage.memory.do("HSET", LEASE, "owner", "elsewhere.7.a.0", "beat", stage.memory.now() - 60_000)


async def test_after_a_death_less_is_taken_at_once_until_enough_has_passed(stage: OneStage) -> None:
    stage.memory.do("XGROUP", "CREATE", IN, GROUP, "0", "MKSTREAM")
    left_by_one_that_died(stage)
    stage.put(*range(60))
    async with stage.start():
        await until(lambda: len(stage.arrived) == 60)
        sizes = list(map(len, stage.step.batches))
        assert (sizes[:4], max(sizes[4:]), sum(sizes)) == ([5, 5, 5, 5], 10, 60)
        assert lease(stage)["limit"] == "0", "the next death begins with a whole batch again"
    all_of(stage)


async def test_what_ended_its_owners_by_itself_again_and_again_is_dead_and_nothing_beside_it(stage: OneStage) -> None:
    stage.memory.do("XGROUP", "CREATE", IN, GROUP, "0", "MKSTREAM")
    stage.put(*range(30))
    first = show_id(min(stage.memory.stream(IN).entries))
    stage.memory.do("HSET", LEASE, "limit", 1, f"trying {IN}", first, f"tries {IN}", 5)
    left_by_one_that_died(stage)
    async with stage.start():
        await until(lambda: len(stage.arrived) == 29)
        assert stage.dead == [0]
        assert all(0 not in batch for batch in stage.step.batches), "it was not run any more"
        assert list(map(len, stage.step.batches[:19])) == [1] * 19


async def test_each_try_of_what_is_taken_by_itself_is_noted_before_it_is_made(stage: OneStage) -> None:
    stage.memory.do("XGROUP", "CREATE", IN, GROUP, "0", "MKSTREAM")
    stage.memory.do("HSET", LEASE, "limit", 1)
    stage.put(*range(3))
    held = stage.memory.hold("own_take")
    async with stage.start():
        await held.arrived.wait()
        stage.stop_steps()
        held.release()
        await until(lambda: stage.step.batches)
        first = show_id(min(stage.memory.stream(IN).entries))
        assert (lease(stage)[f"trying {IN}"], lease(stage)[f"tries {IN}"]) == (first.decode(), "1")
        stage.step.go_on.set()
        await until(lambda: len(stage.arrived) == 3)
    all_of(stage)


# -- a stage that was shared ------------------------------------------------------------------------------------------


async def test_what_is_pending_from_a_shared_stage_comes_first_and_by_acks(stage: OneStage) -> None:
    stage.put(*range(40))
    stage.deliver("elsewhere.7.a.0", 15)
    stage.deliver("elsewhere.8.a.0", 10, times=9)
    async with stage.start() as running:
        await until(lambda: len(stage.arrived) == 40)
        assert running.counters.stages["a"].claimed == 25
        assert stage.dead == [], "none of them is blamed for what others of its batch may have done"
        assert b"owner" not in list(stage.names())
    all_of(stage)


async def test_what_waits_of_it_stays_pending_until_it_is_done(folder: PipelineFolder, memory: MemoryServer) -> None:
    stage = one_stage(folder, memory, "ordered: true, batch: {size: 20}, retry: {attempts: 9, backoff: 1h..1h}")
    stage.put(*range(20))
    stage.deliver("elsewhere.7.a.0", 20)
    held = memory.hold("own_take")
    async with stage.start():
        await held.arrived.wait()
        stage.step.bad.add(12)
        held.release()
        await until(lambda: len(stage.arrived) == 12)
        assert len(stage.pending) == 8, "a crash would lose them"
        stage.step.bad.clear()
        await until(lambda: len(stage.arrived) == 20, seconds=2 * 3600)
    all_of(stage)


async def test_what_another_has_acknowledged_meanwhile_is_left_out(stage: OneStage) -> None:
    stage.put(*range(10))
    ids = stage.deliver("elsewhere.7.a.0", 10)
    held = stage.memory.hold("own_commit")
    async with stage.start():
        await held.arrived.wait()
        stage.memory.do("XACK", IN, GROUP, show_id(ids[4]))
        held.release()
        await until(lambda: len(stage.arrived) == 9)
    assert stage.arrived == [0, 1, 2, 3, 5, 6, 7, 8, 9]


async def test_a_stage_that_is_shared_again_reads_on_behind_the_owners_position(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    owned = one_stage(folder, memory, "ordered: true, batch: {size: 10}")
    owned.put(*range(25))
    async with owned.start():
        await until(lambda: len(owned.arrived) == 25)
    shared = one_stage(folder, memory, "batch: {size: 10}")
    shared.put(*range(25, 40))
    async with shared.start():
        await until(lambda: len(shared.arrived) == 40)
    all_of(shared)


async def test_owners_and_consumers_of_two_versions_at_once_do_everything_once(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    owned = one_stage(folder, memory, "ordered: true, batch: {size: 10}, claim_after: 1s")
    topology = one_stage(folder, memory, "batch: {size: 10}, claim_after: 1s").topology
    async with owned.start(), Running(topology, memory.connect(), consumer_name="old"):
        for start in range(0, 500, 50):
            owned.put(*range(start, start + 50))
            await asyncio.sleep(0.3)
        await until(lambda: len(owned.arrived) >= 500, seconds=600)
        await asyncio.sleep(60)
    assert sorted(owned.arrived) == list(range(500))
    assert (position(owned), owned.pending) == (show_id(memory.stream(IN).last), {})
    assert memory.do("XLEN", OUT) == 500
