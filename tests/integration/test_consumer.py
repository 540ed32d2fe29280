"""A consumer against a real server: its overlap, and how it stops."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import redis

from papyra_flow.streams.commit.commit import Commit, Committed
from papyra_flow.streams.commit.committer import Committer
from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.records import STEPS, ns, numbered


async def test_a_batch_is_processed_while_the_one_before_is_committed_and_sent_after_it(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit waits until a record of the next batch was seen: without the overlap that would be for ever."""
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{batch: {{size: 10}}}}
        stages: {{a: {{from: s, process: [{{run: "{module}:note"}}], to: t}}}}
        streams: {{s: {{}}}}
        """
    )
    for n in range(100):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    commit, under_way, most = Committer.commit, 0, 0

    async def waiting(committer: Committer, batch: Commit, **options: Any) -> Committed:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        done = len(sys.modules[module].seen)
        await until(lambda: len(sys.modules[module].seen) > done or done == 100)
        result = await commit(committer, batch, **options)
        under_way -= 1
        return result

    monkeypatch.setattr(Committer, "commit", waiting)
    await folder.run(url, drain=True)
    entries: Any = redis_client.xrange("{p}:t")
    assert [json.loads(fields[b"data"])["n"] for _, fields in entries] == list(range(100))
    assert most == 1


async def test_a_graceful_stop_gives_back_what_it_did_not_process_and_loses_nothing(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(20_000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{filter: n >= 0}], to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        """
    )
    runs = 0
    while True:
        async with Running(folder.topology(), url) as running:
            await until(lambda: running.counters.stages["c"].written > 1000 or running.ended)
            outcome = await running.stop()
            runs += 1
        for stage, stream in (("b", "s"), ("c", "t")):
            left: Any = redis_client.xpending_range(f"{{p}}:{stream}", stage, "-", "+", 10_000)
            assert all(entry["time_since_delivered"] > 30_000 for entry in left), "not given back"
        if outcome == "drained":
            break
    assert runs > 2
    assert ns(folder.output("out.jsonl")) == list(range(20_000))
