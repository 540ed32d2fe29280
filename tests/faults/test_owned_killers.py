"""I5 where partitions have owners: a record, or a timer, that ends its worker takes down only itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

STEPS = """\
    import os
    def step(record):
        if record["n"] == 234:
            os.abort()
        return record
    def behind(record):
        if record["k"] == 5:
            os.abort()
        return record
    """
ORDERED = """\
    pipeline: p
    defaults: {batch: {size: 16}, retry: {attempts: 3, backoff: 1ms..5ms}}
    stages:
      b: {from: [s, u], ordered: true, process: [{run: "%s:step"}], to: t}
    streams: {s: {}, u: {}, t: {retain: all}}
    """
TIMERS = """\
    pipeline: p
    defaults: {batch: {size: 16}, retry: {attempts: 3, backoff: 1ms..5ms}}
    stages:
      b:
        from: s
        process:
          - aggregate: {by: k, window: 1h, time: n, fields: {c: count()}}
          - run: "%s:behind"
        to: t
    streams: {s: {}, t: {retain: all}}
    """


def rows(url: str, stream: str) -> list[dict[str, Any]]:
    with plain_client(url) as server:
        return [json.loads(fields[b"data"]) for _, fields in server.xrange(f"{{p}}:{stream}")]


def run_until_it_ends(folder: PipelineFolder, url: str) -> int:
    """Start it again whenever it dies; returns how often it did."""
    deaths = 0
    while (finished := folder.cli("run", "pipeline.yml", "--drain", "--redis", url, code=None)).code not in {0, 3}:
        deaths += 1
        assert deaths < 25, finished.err
    return deaths


def test_a_killer_in_one_of_two_streams_is_found_out_and_the_order_kept(folder: PipelineFolder, url: str) -> None:
    """What does well in the other stream does not hide it."""
    folder.pipeline(ORDERED % folder.steps(STEPS))
    with plain_client(url) as server:
        for n in range(400):
            server.xadd("{p}:s" if n % 2 == 0 else "{p}:u", {"data": json.dumps({"n": n})})
    assert run_until_it_ends(folder, url) >= 3
    left = [row["n"] for row in rows(url, "t")]
    for parity in (0, 1):
        assert [n for n in left if n % 2 == parity] == [n for n in range(parity, 400, 2) if n != 234]
    assert [row["n"] for row in rows(url, "@dead:b")] == [234]


def test_a_killer_among_what_closes_is_found_out(folder: PipelineFolder, url: str) -> None:
    folder.pipeline(TIMERS % folder.steps(STEPS))
    with plain_client(url) as server:
        for n in range(200):
            server.xadd("{p}:s", {"data": json.dumps({"n": n, "k": n % 40})})
    assert run_until_it_ends(folder, url) >= 3
    assert sorted((row["k"], row["c"]) for row in rows(url, "t")) == [(k, 5) for k in range(40) if k != 5]
    with plain_client(url) as server:
        assert server.xlen("{p}:@dead:b") == 1
        assert server.keys("*@timers*") == []


@pytest.mark.parametrize("pipeline", [ORDERED, TIMERS])
def test_a_stage_without_killers_is_done_in_one_run(folder: PipelineFolder, url: str, pipeline: str) -> None:
    folder.pipeline(pipeline % folder.steps(STEPS))
    with plain_client(url) as server:
        for n in range(100):
            server.xadd("{p}:s", {"data": json.dumps({"n": n, "k": n % 4})})
    assert run_until_it_ends(folder, url) == 0
