"""Records that fail: tried again, dead with all that is known, dropped, or the end of the run."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from papyra_flow.errors import PipelineFailedError
from tests.harness.pipelines import PipelineFolder
from tests.harness.records import STEPS, ns, numbered


async def test_retries_hold_nobody_up_and_are_counted(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(100))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{retry: {{backoff: 1ms..2ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:flaky"}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    result = await folder.run(url)
    written = ns(folder.output("out.jsonl"))
    assert sorted(written) == list(range(100))
    assert written[:90] == [n for n in range(100) if n % 10]
    stage = result.counters.stages["a"]
    assert (stage.retried, stage.dead) == (20, 0)


async def test_attempts_that_are_used_up_end_in_the_dead_letters_with_all_that_is_known(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(20))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{retry: {{attempts: 3, backoff: 1ms..2ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:hopeless"}}], to: t}}
        """
    )
    result = await folder.run(url)
    assert (result.counters.dead, result.counters.stages["b"].retried) == (4, 4)
    letters: Any = redis_client.xrange("{p}:@dead:b")
    told = {
        json.loads(fields[b"data"])["n"]: (fields[b"@error"].decode(), int(fields[b"@deliveries"]))
        for _, fields in letters
    }
    assert told == {3: ("ValueError: no 3", 3), 13: ("ValueError: no 13", 3), 4: ("said so", 1), 14: ("said so", 1)}
    fields = letters[-1][1]
    assert fields[b"@stream"] == b"{p}:s"
    assert b"in hopeless" in fields[b"@traceback"]
    assert redis_client.xpending("{p}:s", "b")["pending"] == 0


@pytest.mark.parametrize(("on_error", "dropped"), [("drop", 2), ("halt", 0)])
async def test_on_error_drops_or_halts(folder: PipelineFolder, url: str, on_error: str, dropped: int) -> None:
    folder.records("in.jsonl", numbered(20))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{on_error: {on_error}, retry: {{attempts: 1}}}}
        stages:
          a:
            read: {{jsonl: in.jsonl}}
            process: [{{filter: n % 10 != 4}}, {{run: "{module}:hopeless"}}]
            write: {{jsonl: out.jsonl}}
        """
    )
    if on_error == "halt":
        with pytest.raises(PipelineFailedError, match=r"the stage 'a' halts: the record .* failed: ValueError: no 3"):
            await folder.run(url)
    else:
        result = await folder.run(url)
        assert result.counters.stages["a"].dropped == dropped + 2
    assert ns(folder.output("out.jsonl")) == [n for n in range(20) if n % 10 not in {3, 4}]


async def test_a_step_may_ask_for_another_try(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(5))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:patient"}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    result = await folder.run(url)
    assert (len(folder.output("out.jsonl")), result.counters.stages["a"].retried) == (5, 5)


async def test_records_that_cannot_be_read_are_dead_with_their_bytes(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.write("in.csv", "n\n1\nx\n3\n")
    for fields in ({"data": b"\xff\xfe"}, {"data": "[1]"}, {"other": "1"}, {"data": '{"n": 7}'}):
        redis_client.xadd("{p}:s", fields)  # type: ignore[arg-type]
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {csv: in.csv, types: {n: int}}, to: s}
          b: {from: s, process: [{filter: n > 0}], to: t}
        """
    )
    result = await folder.run(url)
    assert (result.counters.stages["a"].dead, result.counters.stages["b"].dead) == (1, 3)
    assert redis_client.xlen("{p}:t") == 3
    first: Any = redis_client.xrange("{p}:@dead:b")[0]  # type: ignore[index]
    assert first[1][b"data"] == b"\xff\xfe"
    source: Any = redis_client.xrange("{p}:@dead:a")[0]  # type: ignore[index]
    assert (source[1][b"@stream"], source[1][b"@id"]) == (b"in.csv", b"3")
