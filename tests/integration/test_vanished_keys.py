"""Keys that vanish under a run, or between two: the run goes on, and says what that means."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable

import pytest
import redis

from papyra_flow.errors import LostEntriesError
from papyra_flow.runtime.process.drain import Drain
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_pipeline
from papyra_flow.runtime.services.backpressure import Gates
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.stage.stage import WorkerContext
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import Topology
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(HANGS_SECONDS):
        while not holds():  # noqa: ASYNC110 - on a server, and in a file
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
            await until(lambda: out.exists() and len(out.read_text().splitlines()) > number)  # noqa: B023 - awaited
            redis_client.flushall()
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert [record["n"] for record in folder.output("out.jsonl")] == [0, 1, 2]


PIPELINE = """
    pipeline: p
    stages:
      read: {read: {jsonl: "in/*.jsonl"}, to: raw}
      write: {from: raw, write: {jsonl: out.jsonl}}
    """


@pytest.mark.parametrize(
    ("key", "meaning"),
    [
        ("{p}:@source:read", "its source may read earlier records again"),
        ("{p}:@source:read:parts", "its source may read earlier records again"),
        ("{p}:@sink:write", "uncommitted output may be written twice"),
    ],
)
async def test_a_checkpoint_that_was_lost_between_two_runs_is_told_once(
    folder: PipelineFolder,
    url: str,
    redis_client: redis.Redis,
    key: str,
    meaning: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder.pipeline(PIPELINE)
    for name in ("a", "b", "c"):
        folder.records(f"in/{name}.jsonl", [{"name": name}])
    await folder.run(url)
    redis_client.delete(key)
    with pytest.raises(LostEntriesError, match=key):
        await folder.run(url)
    assert meaning in caplog.text
    await folder.run(url)


@pytest.mark.parametrize("key", ["{p}:@source:read", "{p}:@source:read:parts", "{p}:@sink:write"])
async def test_a_checkpoint_that_is_lost_under_a_run_is_told(
    folder: PipelineFolder, url: str, redis_client: redis.Redis, key: str
) -> None:
    folder.pipeline(PIPELINE.replace('"in/*.jsonl"', '{path: "in/*.jsonl", follow: true}'))
    out = folder.path / "out.jsonl"
    folder.records("in/a.jsonl", [{"n": 1}])
    running = asyncio.create_task(run_pipeline(folder.topology(), url, RunOptions(stages=None)))
    await until(lambda: out.exists() and out.read_text() and redis_client.exists(key))
    await until(lambda: redis_client.exists(key) and redis_client.delete(key))
    with (folder.path / "in/a.jsonl").open("a") as file:
        file.write('{"n": 2}\n')
    await until(lambda: '"n":2' in out.read_text().replace(" ", ""))
    os.kill(os.getpid(), signal.SIGTERM)
    result = await running
    assert isinstance(result.error, LostEntriesError)
    assert key in str(result.error)


async def test_an_owner_from_before_does_not_pass_for_the_one_after_the_lease_was_lost(client: Client) -> None:
    leases = Leases(client, "a", "{t}:@probe", "{t}:@ledger")
    before = await leases.take("{t}:@source:in")
    await client.call("DEL", "{t}:@source:in")
    after = await leases.take("{t}:@source:in")
    assert before is not None
    assert after is not None
    assert after.epoch > before.epoch


async def test_how_a_source_ended_in_the_run_before_does_not_end_this_one(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    """A process that does not read the source is quicker than the one that does: it waits for it."""
    folder.pipeline(PIPELINE.replace("write: {jsonl: out.jsonl}", "to: done").rstrip() + "\n    streams: {done: {}}\n")
    folder.records("in/a.jsonl", [{"n": 1}])
    await folder.run(url)
    topology = folder.topology()
    epoch = int(redis_client.hget("{p}:@source:read", "epoch") or 0)
    owned = {"{p}:@source:read": (epoch, "")}
    server = Server(url)
    try:
        context = surroundings(topology, server, url)
        drain = Drain(context, topology.stages, lambda: True, owned)
        assert await Drain(context, topology.stages, lambda: True).drained()
        assert not await drain.drained()
        lease = await context.leases.take("{p}:@source:read")
        assert lease is not None
        assert not await drain.drained()
        await context.leases.ingest(lease, targets=[], records=[], read=0, checkpoint="", done=True)
        assert await drain.drained()
    finally:
        await server.close()


async def test_a_run_that_drains_waits_for_its_own_sources_even_if_they_follow(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    folder.pipeline(PIPELINE.replace('"in/*.jsonl"', '{path: "in/*.jsonl", follow: true}'))
    folder.records("in/a.jsonl", [{"n": 1}])
    topology, server = folder.topology(), Server(url)
    try:
        context = surroundings(topology, server, url)
        assert not await Drain(context, topology.stages, lambda: True).drained()
        assert await Drain(context, ["write"], lambda: True).drained()  # another machine's may go on for ever
    finally:
        await server.close()


def surroundings(topology: Topology, server: Server, url: str) -> WorkerContext:
    keys = topology.keys
    return WorkerContext(
        topology, server, "test", Gates(), Keepalive(url), Trimmer(server.client, {}),
        Leases(server.client, "test", keys.probe, keys.ledger), Pauses(server.client, keys.paused),
    )  # fmt: skip


async def test_a_run_ends_though_everything_was_flushed_when_its_source_had_ended(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    """Its end was forgotten with all else: what was lost is read again."""
    gate = folder.path / "gate"
    module = folder.steps(f"""
        import asyncio, os
        async def f(r):
            while not os.path.exists({str(gate)!r}):
                await asyncio.sleep(0.01)
            return r
        """)
    folder.pipeline(f"""
        pipeline: p
        stages:
          read: {{read: {{jsonl: in.jsonl}}, to: raw}}
          write: {{from: raw, process: [{{run: "{module}:f"}}], write: {{jsonl: out.jsonl}}}}
        """)
    folder.records("in.jsonl", [])
    await folder.run(url)  # so that the lease has the same epoch before this run, and after the loss
    folder.records("in.jsonl", [{"n": n} for n in range(5)])
    running = asyncio.create_task(run_pipeline(folder.topology(), url, RunOptions()))
    await until(lambda: redis_client.hmget("{p}:@source:read", "done", "records") == [b"1", b"5"])
    redis_client.flushall()
    gate.touch()
    async with asyncio.timeout(HANGS_SECONDS):
        result = await running
    assert isinstance(result.error, LostEntriesError)
    assert {record["n"] for record in folder.output("out.jsonl")} == set(range(5))
