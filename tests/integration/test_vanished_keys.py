"""Keys that vanish under a run, or between two: the run goes on, and says what that means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import redis

from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_pipeline
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(HANGS_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_stage_with_a_file_goes_on_after_everything_was_flushed(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    """It does not wait for a lock that it has itself."""
    folder.pipeline("""
        pipeline: p
        stages: {a: {from: in, write: {jsonl: out.jsonl}}}
        streams: {in: {}}
        """)
    out = folder.path / "out.jsonl"
    running = asyncio.create_task(run_pipeline(folder.topology(), url, RunOptions(drain=False)))
    try:
        for number in range(3):
            await until(lambda: redis_client.exists("{p}:in") and redis_client.xinfo_groups("{p}:in"))
            redis_client.xadd("{p}:in", {"data": json.dumps({"n": number})})
            await until(lambda number=number: out.exists() and len(out.read_text().splitlines()) > number)
            redis_client.flushall()
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert [record["n"] for record in folder.output("out.jsonl")] == [0, 1, 2]
