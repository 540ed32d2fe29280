"""Bounds: a slow stage stops the first, and a consumer holds no more than it may."""

from __future__ import annotations

import asyncio

import redis

from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.records import ns, numbered


async def test_a_slow_stage_stops_the_first_within_max_backlog(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(5000))
    folder.pipeline(
        """\
        pipeline: p
        defaults: {batch: {size: 50}}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        streams: {s: {max_backlog: 300}, t: {max_backlog: 200}}
        """
    )
    async with Running(folder.topology(), url, stages=("a", "b")) as running:
        await until(lambda: redis_client.xlen("{p}:t") >= 200)
        await until(lambda: running.counters.stages["a"].read >= 300 + 200)
        for _ in range(20):
            await asyncio.sleep(0)
        assert redis_client.xlen("{p}:t") <= 200 + 50
        assert running.counters.stages["a"].read <= 300 + 200 + 3 * 50
    await folder.run(url)
    assert ns(folder.output("out.jsonl")) == list(range(5000))


async def test_a_consumer_holds_no_more_than_max_pending(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(500))
    module = folder.steps("def never(record):\n    raise ValueError('not today')\n")
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b:
            from: s
            process: [{{run: "{module}:never"}}]
            to: t
            batch: {{size: 20}}
            max_pending: 60
            retry: {{attempts: 1000, backoff: 1h}}
        """
    )
    async with Running(folder.topology(), url) as running:
        await until(lambda: running.counters.stages["b"].retried >= 60)
        await until(lambda: redis_client.xpending("{p}:s", "b")["pending"] == 60)
        assert redis_client.xpending("{p}:s", "b")["pending"] == 60
