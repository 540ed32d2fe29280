"""Entries of consumers that are gone, against a real server: taken over, with care, and nothing forgotten."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from papyra_flow.errors import ConnectionLostError
from papyra_flow.records.entries import Entry
from papyra_flow.streams.groups.claims import Claimer
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.records import numbered


async def test_entries_of_a_consumer_that_stays_silent_are_claimed(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(50))
    folder.pipeline(
        """\
        pipeline: p
        defaults: {claim_after: 200ms}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: t}
        """
    )
    await folder.run(url, stages=("a",))
    redis_client.xreadgroup("b", "elsewhere.7.b.0", {"{p}:s": ">"}, count=30)
    result = await folder.run(url)
    assert result.counters.stages["b"].claimed == 30
    entries: Any = redis_client.xrange("{p}:t")
    assert Counter(json.loads(fields[b"data"])["n"] for _, fields in entries) == Counter(range(50))


async def test_suspects_are_not_forgotten_when_the_connection_breaks_while_they_are_taken(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.records("in.jsonl", numbered(50))
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, to: t, claim_after: 200ms}\n"
    )
    await folder.run(url, stages=("a",))
    redis_client.xreadgroup("b", "elsewhere.7.b.0", {"{p}:s": ">"}, count=30)
    take = Claimer.take
    broken: list[int] = []

    async def breaks_once(claimer: Claimer, ids: Sequence[bytes]) -> list[Entry]:
        if ids and not broken:
            broken.append(len(ids))
            raise ConnectionLostError("the connection to the server was lost")
        return await take(claimer, ids)

    monkeypatch.setattr(Claimer, "take", breaks_once)
    async with asyncio.timeout(HANGS_SECONDS):
        await folder.run(url)
    assert broken == [30]
    assert redis_client.xlen("{p}:t") == 50


@pytest.fixture
def dead_process() -> int:
    """The id of a process that has ended."""
    found = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(found.stdout)


async def test_entries_of_a_dead_process_of_this_host_are_taken_over_at_once(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, dead_process: int
) -> None:
    folder.records("in.jsonl", numbered(50))
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, to: t, claim_after: 1h}\n"
    )
    await folder.run(url, stages=("a",))
    name = f"{socket.gethostname()}.{dead_process}.b.0"
    redis_client.xreadgroup("b", name, {"{p}:s": ">"}, count=30)
    result = await folder.run(url)
    assert result.counters.stages["b"].claimed == 30
    assert redis_client.xlen("{p}:t") == 50
    consumers: Any = redis_client.xinfo_consumers("{p}:s", "b")
    assert consumers == []


async def test_suspects_are_in_hand_one_batch_at_a_time_whatever_the_number_of_consumers_and_stages(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, dead_process: int
) -> None:
    """I5: were the process to end now, what is counted against is in one batch."""
    module = folder.steps(
        f"""\
        from redis.asyncio import Redis

        in_hand = []

        async def look(record):
            async with Redis.from_url("{url}") as server:
                for _ in range(5):
                    pending = [
                        await server.xpending_range("{{p}}:" + stream, group, "-", "+", 1000)
                        for stream, group in (("s", "b"), ("t", "c"))
                    ]
                    in_hand.append(sum(entry["times_delivered"] > 1 for entries in pending for entry in entries))
            return record
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{batch: {{size: 4}}, consumers: 2, claim_after: 1h}}
        stages:
          b: {{from: s, process: [{{run: "{module}:look"}}], to: u}}
          c: {{from: t, process: [{{run: "{module}:look"}}], to: u}}
        streams: {{s: {{}}, t: {{}}}}
        """
    )
    for stream, group in (("s", "b"), ("t", "c")):
        key = f"{{p}}:{stream}"
        redis_client.xgroup_create(key, group, "0", mkstream=True)
        for n in range(150):  # more than one consumer takes over at once
            redis_client.xadd(key, {"data": json.dumps({"n": n})})
        redis_client.xreadgroup(group, f"{socket.gethostname()}.{dead_process}.{group}.0", {key: ">"})
    await folder.run(url, drain=True)
    assert redis_client.xlen("{p}:u") == 300
    assert max(sys.modules[module].in_hand) == 1


async def test_a_silent_consumer_elsewhere_is_removed_once_its_entries_were_claimed(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        defaults: {claim_after: 50ms}
        stages: {a: {from: s, to: t}}
        streams: {s: {}}
        """
    )
    redis_client.xgroup_create("{p}:s", "a", "0", mkstream=True)
    for n in range(10):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    redis_client.xreadgroup("a", "elsewhere.1.a.0", {"{p}:s": ">"}, count=5)
    async with Running(folder.topology(), url) as running:
        await until(lambda: running.counters.stages["a"].read == 5 and b"elsewhere.1.a.0" not in names(redis_client))
        await until(lambda: running.worker.at_rest)
        assert redis_client.xlen("{p}:t") == 10
        assert running.counters.stages["a"].claimed == 5


def names(redis_client: redis.Redis) -> list[bytes]:
    found: Any = redis_client.xinfo_consumers("{p}:s", "a")
    return [consumer["name"] for consumer in found]
