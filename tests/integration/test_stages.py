"""Whole pipelines in this process, against real servers: what goes through stages arrives once, in order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis

from papyra_flow.errors import UsageError
from tests.harness.pipelines import PipelineFolder, Running
from tests.harness.records import STEPS, ns, numbered
from tests.harness.servers import plain_client


async def test_a_bounded_run_ends_when_all_has_arrived_and_keeps_the_order(
    folder: PipelineFolder, any_url: str
) -> None:
    folder.records("in.jsonl", numbered(3000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          read: {read: {jsonl: in.jsonl}, to: a}
          odd: {from: a, process: [{filter: n % 3 > 0}], to: b}
          out: {from: b, write: {jsonl: out.jsonl}}
        """
    )
    result = await folder.run(any_url)
    assert result.outcome == "drained"
    assert ns(folder.output("out.jsonl")) == [n for n in range(3000) if n % 3]
    stages = result.counters.stages
    assert (stages["read"].emitted["a"], stages["odd"].read, stages["odd"].dropped) == (3000, 3000, 1000)
    assert (stages["odd"].emitted["b"], stages["out"].written) == (2000, 2000)
    assert {name: facts["backlog"] for name, facts in result.streams.items()} == {"a": 0, "b": 0}


async def test_a_second_run_has_nothing_to_do_and_changes_nothing(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(100))
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")
    await folder.run(url)
    again = await folder.run(url)
    assert again.counters.stages["a"].read == 0
    assert len(folder.output("out.jsonl")) == 100


async def test_every_kind_of_step_works_in_a_chain(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", [{"n": n, "xs": [{"k": "a"}, {"k": "b"}], "junk": 1} for n in range(20)])
    folder.write("t.csv", "k,v\na,1\nb,2\n")
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          all:
            read: {{jsonl: in.jsonl}}
            process:
              - filter: n < 10
              - explode: {{field: xs, as: x}}
              - set: {{k: x.k}}
              - drop: [junk, x]
              - lookup: {{csv: t.csv, key: k, on: k, fields: [v], types: {{v: int}}}}
              - rename: {{v: value}}
              - run: {module}:twice
              - run: {module}:slow
              - map: {{n: n, k: k, value: value * 10, copy: copy}}
            write: {{jsonl: out.jsonl}}
        """
    )
    await folder.run(url)
    expected = [
        {"n": n, "k": k, "value": v, "copy": c} for n in range(10) for k, v in (("a", 10), ("b", 20)) for c in (0, 1)
    ]
    assert folder.output("out.jsonl") == expected


async def test_a_lookup_in_a_redis_hash_asks_for_what_holds_now(folder: PipelineFolder, any_url: str) -> None:
    with plain_client(any_url) as server:
        server.hset("prices", mapping={"a": '{"price": 3}', "b": "plain"})
    folder.records("in.jsonl", [{"n": 0, "k": "a"}, {"n": 1, "k": "b"}, {"n": 2, "k": "none"}])
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a:
            read: {jsonl: in.jsonl}
            process: [{lookup: {hash: prices, on: k, as: found, missing: "null"}}]
            write: {jsonl: out.jsonl}
        """
    )
    await folder.run(any_url)
    assert [record["found"] for record in folder.output("out.jsonl")] == [{"price": 3}, "plain", None]


async def test_emit_chooses_the_stream_and_headers_travel_on(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(10))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:choose"}}], to: [odd, even], match: all}}
          b: {{from: odd, process: [{{filter: n > 4}}], to: end}}
        """
    )
    await folder.run(url)
    assert redis_client.xlen("{p}:even") == 5
    entries: Any = redis_client.xrange("{p}:end")
    assert [(json.loads(fields[b"data"])["n"], fields[b"key"], fields[b"h"]) for _, fields in entries] == [
        (n, str(n).encode(), b"x") for n in (5, 7, 9)
    ]


async def test_records_with_headers_that_are_all_dropped_are_dropped(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{filter: n > 5}], to: [{stream: t, when: n > 7}, u]}}
        streams: {s: {}}
        """
    )
    for n in range(3):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n}), "h": "x"})
    result = await folder.run(url, drain=True)
    assert (result.counters.stages["a"].dropped, result.counters.stages["a"].dead) == (3, 0)
    assert redis_client.xlen("{p}:@dead:a") == 0


async def test_match_all_copies_to_every_route_that_fits(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(10))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a:
            read: {jsonl: in.jsonl}
            match: all
            to: [{stream: s, when: n > 2}, {stream: t, when: n > 6}, u]
        """
    )
    result = await folder.run(url)
    assert dict(result.counters.stages["a"].emitted) == {"s": 7, "t": 3, "u": 10}
    assert redis_client.xlen("{p}:u") == 10


async def test_a_stage_may_read_several_streams_and_feed_several_stages(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(100))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: [{stream: low, when: n < 50}, high]}
          b: {from: low, to: out}
          c: {from: [low, high], write: {jsonl: c.jsonl}}
          d: {from: [out, high], consumers: 3, to: all}
          e: {from: all, write: {jsonl: e.jsonl}}
        """
    )
    await folder.run(url)
    assert sorted(ns(folder.output("c.jsonl"))) == list(range(100))
    assert sorted(ns(folder.output("e.jsonl"))) == list(range(100))


async def test_records_as_fields_are_read_and_written(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    redis_client.xadd("theirs", {"name": "ada", "age": "36"})
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {from: theirs, process: [{set: {age: int(age) + 1, tags: '["x"]'}}], to: out}
        streams: {theirs: {key: theirs, format: fields}, out: {format: fields}}
        """
    )
    await folder.run(url, drain=True)
    (entry,) = redis_client.xrange("{p}:out")  # type: ignore[misc]
    assert entry[1] == {b"name": b"ada", b"age": b"37", b"tags": b'["x"]'}


async def test_an_unknown_stage_is_a_usage_error(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: stdin, to: s}\n")
    with pytest.raises(UsageError, match="unknown stage 'x'; the stages are a"):
        await folder.run(url, stages=("x",))


async def test_two_shares_of_a_pipeline_end_together(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(2000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        """
    )
    first, second = Running(folder.topology(), url, stages=("a", "c")), Running(folder.topology(), url, stages=("b",))
    async with first, second:
        assert first.task is not None
        assert second.task is not None
        assert set(await asyncio.gather(first.task, second.task)) == {"drained"}
    assert ns(folder.output("out.jsonl")) == list(range(2000))
    assert set(second.counters.stages) == {"a", "b", "c"}
    assert second.counters.stages["b"].read == 2000


@pytest.mark.parametrize("process", ["", "process: [{filter: 'True'}], "], ids=["no step", "a step that keeps it"])
async def test_a_field_called_data_is_a_field_like_any_other_where_fields_are_the_record(
    folder: PipelineFolder, url: str, process: str
) -> None:
    folder.records("in.jsonl", [{"data": "y", "n": 1}, {"data": {"q": 1}}, {"n": 2}])
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, {process}write: {{jsonl: out.jsonl}}}}
        streams: {{s: {{format: fields}}}}
        """
    )
    await folder.run(url)
    assert folder.output("out.jsonl") == [{"data": "y", "n": "1"}, {"data": '{"q":1}'}, {"n": "2"}]
