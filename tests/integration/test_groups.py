"""Groups and streams of a run: where a group starts, what is trimmed, what stands in the way."""

from __future__ import annotations

import json

import pytest
import redis

from papyra_flow.errors import WrongKeyTypeError
from tests.harness.pipelines import PipelineFolder
from tests.harness.records import numbered


async def test_acked_entries_are_trimmed_and_those_of_other_groups_and_keys_stay(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    redis_client.xgroup_create("{p}:watched", "foreign", "0", mkstream=True)
    for n in range(10):
        redis_client.xadd("theirs", {"data": json.dumps({"n": n})})
    folder.records("in.jsonl", numbered(1000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: watched}
          c: {from: watched, to: kept}
          d: {from: kept, to: end}
          e: {from: theirs, to: end}
        streams: {kept: {retain: all}, theirs: {key: theirs}}
        """
    )
    await folder.run(url)
    lengths = {name: redis_client.xlen(name) for name in ("{p}:s", "{p}:watched", "{p}:kept", "{p}:end", "theirs")}
    assert lengths == {"{p}:s": 0, "{p}:watched": 1000, "{p}:kept": 1000, "{p}:end": 1010, "theirs": 10}


async def test_a_group_starts_where_its_stage_says(folder: PipelineFolder, redis_client: redis.Redis, url: str) -> None:
    for n in range(10):
        redis_client.xadd("theirs", {"data": json.dumps({"n": n})}, id=f"{n + 1}-0")
    folder.pipeline(
        """\
        pipeline: p
        stages:
          all: {from: theirs, write: {jsonl: all.jsonl}}
          late: {from: theirs, start: latest, write: {jsonl: late.jsonl}}
          some: {from: theirs, start: 7-0, write: {jsonl: some.jsonl}}
        streams: {theirs: {key: theirs}}
        """
    )
    await folder.run(url, drain=True)
    assert {name: len(folder.output(f"{name}.jsonl")) for name in ("all", "late", "some")} == {
        "all": 10, "late": 0, "some": 3,
    }  # fmt: skip


async def test_a_key_of_another_type_stops_the_run_with_one_sentence(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(5))
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, to: t}\n")
    redis_client.set("{p}:s", "mine")
    with pytest.raises(WrongKeyTypeError, match=r"\{p\}:s holds a string"):
        await folder.run(url)
    redis_client.delete("{p}:s")
    redis_client.set("{p}:t", "mine")  # only written to: no group is created on it
    with pytest.raises(WrongKeyTypeError, match=r"\{p\}:t holds a string"):
        await folder.run(url)
    redis_client.delete("{p}:t")
    await folder.run(url)
    assert redis_client.xlen("{p}:t") == 5
