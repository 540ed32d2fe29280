"""A consumer's loop: what goes on at the same time, in which order it arrives, and what failures of the server cost."""

from __future__ import annotations

import asyncio

import pytest

from papyra_flow.errors import PipelineFailedError
from tests.harness.memory import MemoryServer
from tests.harness.memory.streams import show_id
from tests.harness.pipelines import PipelineFolder
from tests.harness.stages import IN, OUT, OneStage
from tests.harness.virtual_time import until

OOM = "OOM command not allowed when used memory > 'maxmemory'."


@pytest.fixture
def stage(folder: PipelineFolder, memory: MemoryServer) -> OneStage:
    return OneStage(folder, memory, "batch: {size: 10}")


async def test_the_next_batch_is_processed_while_the_commit_is_under_way_and_sent_after_it(stage: OneStage) -> None:
    stage.put(*range(30))
    held = stage.memory.hold("commit")
    async with stage.start():
        await held.arrived.wait()
        await until(lambda: len(stage.step.batches) == 2)
        assert stage.step.batches == [list(range(10)), list(range(10, 20))]
        assert stage.memory.arrived["commit"] == 1
        assert stage.arrived == []
        held.release()
        await until(lambda: len(stage.arrived) == 30)
    assert stage.arrived == list(range(30))


async def test_order_is_kept_whatever_commits_and_reads_meet(stage: OneStage) -> None:
    stage.put(*range(100))
    stage.memory.refuse("commit", OOM, times=3)
    stage.memory.lose_command("commit")
    stage.memory.lose_reply("commit")
    stage.memory.lose_command("XREADGROUP")
    async with stage.start() as running:
        await until(lambda: len(stage.arrived) == 100)
        assert stage.arrived == list(range(100))
        assert running.counters.stages["a"].stale == 0


async def test_a_commit_that_fails_for_a_while_loses_nothing_that_was_read_ahead(stage: OneStage) -> None:
    stage.put(*range(30))
    stage.memory.refuse("commit", OOM, times=8)
    async with stage.start() as running:
        await until(lambda: len(stage.arrived) == 30)
        assert stage.step.batches == [list(range(n, n + 10)) for n in (0, 10, 20)], "each was processed once"
        assert running.counters.stages["a"].read == 30
    assert not stage.pending


async def test_a_commit_that_cannot_be_made_ends_the_run_and_leaves_the_rest_pending(stage: OneStage) -> None:
    stage.put(*range(30))
    stage.memory.refuse("commit", "NOPERM this user has no permissions", times=1000)
    running = stage.start()
    async with running:
        await until(lambda: running.ended)
        assert running.task is not None
        assert "permissions" in str(running.task.exception())
        assert stage.arrived == []
        assert len(stage.pending) >= 10
        running.task = None


async def test_a_read_whose_reply_was_lost_is_taken_up_at_once(stage: OneStage) -> None:
    stage.memory.lose_reply("XREADGROUP")
    async with stage.start() as running:
        stage.put(*range(5))
        await until(lambda: len(stage.arrived) == 5, seconds=20)  # far less than the claim time
        assert stage.arrived == list(range(5))
        assert (running.counters.stages["a"].claimed, running.counters.stages["a"].stale) == (0, 0)


async def test_a_server_that_is_away_for_a_while_is_waited_for(stage: OneStage) -> None:
    async with stage.start():
        await until(lambda: stage.memory.arrived["XREADGROUP"])
        stage.memory.away = True
        stage.memory.cut_connections()
        stage.put(*range(20))
        await asyncio.sleep(20)
        assert stage.arrived == []
        stage.memory.away = False
        await until(lambda: len(stage.arrived) == 20)
    assert stage.arrived == list(range(20))


async def test_what_fails_is_tried_as_often_as_it_may_be_and_then_it_is_dead(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory, "batch: {size: 10}, retry: {attempts: 4, backoff: 1s..1h}")
    async with stage.start() as running:
        stage.step.bad.add(3)
        stage.put(*range(8))
        await until(lambda: len(stage.arrived) == 7)
        assert stage.arrived == [n for n in range(8) if n != 3], "it held up none of the others"
        await until(lambda: stage.dead)
        assert stage.step.batches.count([3]) >= 3
        counters = running.counters.stages["a"]
        assert (counters.retried, counters.dead, stage.dead) == (3, 1, [3])
    assert not stage.pending


async def test_a_retry_whose_connection_breaks_while_it_is_taken_is_not_forgotten(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory, "retry: {attempts: 2, backoff: 1s..1h}")
    async with stage.start() as running:
        stage.step.bad.add(1)
        stage.put(1)
        await until(lambda: running.counters.stages["a"].retried)
        stage.step.bad.clear()
        memory.lose_command("XCLAIM")
        await until(lambda: stage.arrived == [1], seconds=20)


async def test_a_stop_commits_what_is_in_process_and_gives_back_the_rest_with_its_age(stage: OneStage) -> None:
    async with stage.start() as running:
        await until(lambda: stage.memory.arrived["XREADGROUP"])
        go_on = stage.stop_steps()
        stage.put(*range(10))
        await until(lambda: stage.step.batches)
        stage.put(*range(10, 30))
        await until(lambda: len(stage.pending) == 20)
        running.worker.stop()
        go_on.set()
        assert await running.stop() == "stopped"
        assert stage.arrived == list(range(10))
        now = stage.memory.now()
        ages = [now - entry.at for entry in stage.pending.values()]
        assert len(ages) == 10
        assert all(30_000 < age < 31_000 for age in ages), (
            "just past the claim time: free at once, and not ten years old"
        )
        assert len(list(stage.names())) == 1, "who has something pending is not removed"


async def test_who_has_nothing_left_is_removed_at_the_end(stage: OneStage) -> None:
    stage.put(*range(10))
    async with stage.start() as running:
        await until(lambda: len(stage.arrived) == 10)
        await running.stop()
    assert list(stage.names()) == []


async def test_a_paused_stage_takes_nothing_until_it_goes_on(stage: OneStage) -> None:
    async with stage.start():
        stage.put(0)
        await until(lambda: stage.arrived == [0])
        stage.memory.do("HSET", "{p}:@paused", "a", 1)
        await asyncio.sleep(10)  # the read that waited when it was paused has come back empty
        stage.put(*range(1, 10))
        await asyncio.sleep(600)
        assert (stage.arrived, len(stage.pending)) == ([0], 0)
        stage.memory.do("HDEL", "{p}:@paused", "a")
        await until(lambda: len(stage.arrived) == 10)


async def test_a_group_that_went_with_all_else_is_created_again(stage: OneStage) -> None:
    async with stage.start():
        stage.put(1)
        await until(lambda: stage.arrived == [1])
        stage.memory.forget_all()
        await until(lambda: stage.memory.stream(IN).groups)
        stage.put(2, 3)
        await until(lambda: stage.arrived == [2, 3])


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (("XGROUP", "DESTROY", IN, "a"), "the group 'a' of the stage 'a' was destroyed while it ran"),
        (("DEL", IN), "the stream {p}:s was deleted or evicted while it ran"),
        (("SET", "{p}:@destroyed", 1), "the pipeline was removed from the server"),
    ],
)
async def test_a_group_that_was_taken_away_ends_the_run_with_one_sentence(
    stage: OneStage, what: tuple[str, ...], told: str
) -> None:
    async with stage.start() as running:
        await until(lambda: stage.memory.arrived["XREADGROUP"])
        stage.memory.do_all([what, ("DEL", IN)] if what[0] == "SET" else [what])
        await until(lambda: running.ended)
        assert running.task is not None
        error = running.task.exception()
        assert isinstance(error, PipelineFailedError)
        assert told in str(error)
        running.task = None


async def test_what_was_committed_by_another_is_counted_and_not_forwarded(stage: OneStage) -> None:
    held = stage.memory.hold("commit")
    async with stage.start() as running:
        stage.put(*range(10))
        await held.arrived.wait()
        first = min(stage.pending)
        stage.memory.do("XACK", IN, "a", show_id(first))
        held.release()
        await until(lambda: len(stage.arrived) == 9)
        assert running.counters.stages["a"].stale == 1
    assert stage.memory.do("XLEN", OUT) == 9


async def test_what_is_due_comes_before_what_others_left_and_that_before_what_is_new(
    folder: PipelineFolder, memory: MemoryServer
) -> None:
    stage = OneStage(folder, memory, "claim_after: 10s, retry: {backoff: 5s..5s}")
    async with stage.start() as running:
        stage.step.bad.add(0)
        stage.put(0)
        await until(lambda: running.counters.stages["a"].retried)
        stage.step.bad.clear()
        go_on = stage.stop_steps()
        stage.put(1)
        await until(lambda: stage.step.batches[-1] == [1])
        stage.put(2)
        stage.deliver("elsewhere.7.a.0", 1, idle=100)
        stage.put(3)
        await asyncio.sleep(60)
        go_on.set()
        await until(lambda: len(stage.arrived) == 4)
    assert stage.arrived == [1, 0, 2, 3]


async def test_what_was_lost_comes_before_what_is_new_also_when_it_is_found_during_a_look_elsewhere(
    stage: OneStage,
) -> None:
    async with stage.start():
        await until(lambda: stage.memory.arrived["XREADGROUP"])
        refused = stage.memory.refuse("XAUTOCLAIM", "LOADING the dataset", times=10, about="{p}:a@replay")
        await refused.arrived.wait()
        stage.memory.cut_reads()
        stage.put(*range(20))
        await until(lambda: len(stage.pending) == 20)
        assert refused.times > 0, "it still looks"
        await until(lambda: len(stage.arrived) == 20)
    assert stage.arrived == list(range(20))
