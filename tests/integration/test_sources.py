"""Sources and sinks in a run: what ends it, what is copied once, who may write."""

from __future__ import annotations

import fcntl
import json
from typing import Any

import pytest

from papyra_flow.errors import ConnectorError, PipelineFailedError, UsageError
from papyra_flow.streams.commit.committer import Committer
from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.records import ns, numbered
from tests.harness.servers import plain_client


async def test_a_missing_file_ends_the_run_with_one_sentence(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: nowhere.jsonl}, to: s}\n")
    with pytest.raises(ConnectorError, match=r"file not found: nowhere\.jsonl"):
        await folder.run(url)


async def test_a_stream_of_another_server_is_copied_once_with_its_headers(
    folder: PipelineFolder, url: str, local_server: Any
) -> None:
    other = local_server()
    with other.client as far:
        for n in range(100):
            far.xadd("events", {"data": json.dumps({"n": n}), "trace": f"t{n}"})
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{stream: events, redis: "{other.url}"}}, to: s}}
          b: {{from: s, write: {{stream: copied, redis: "{other.url}"}}}}
          c: {{from: s, write: {{stream: here}}}}
        """
    )
    for _ in range(2):
        await folder.run(url, drain=True)
    with other.client as far, plain_client(url) as near:
        copied: Any = far.xrange("copied")
        assert [json.loads(fields[b"data"])["n"] for _, fields in copied] == list(range(100))
        here: Any = near.xrange("here")
        assert [fields[b"trace"] for _, fields in here] == [b"t%d" % n for n in range(100)]


async def test_a_source_that_never_ends_cannot_be_drained_and_says_so(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {generate: {rate: 10}}, to: s}\n")
    with pytest.raises(UsageError, match="never ends"):
        await folder.run(url, drain=True)


@pytest.mark.parametrize("before", ["", '{"n": -1}\n'])
async def test_a_sink_killed_between_its_very_first_write_and_the_commit_writes_nothing_twice(
    folder: PipelineFolder, url: str, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    folder.records("in.jsonl", numbered(10))
    folder.write("out.jsonl", before)
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")

    async def killed(*_: object, **__: object) -> None:
        raise PipelineFailedError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Committer, "commit", killed)
        with pytest.raises(PipelineFailedError, match="killed here"):
            await folder.run(url)
    assert len(folder.output("out.jsonl")) >= 10
    await folder.run(url)
    assert ns(folder.output("out.jsonl")) == ([-1] if before else []) + list(range(10))


async def test_an_owner_that_was_overtaken_while_it_waited_for_the_file_leaves_it_alone(
    folder: PipelineFolder, url: str
) -> None:
    """A newer owner came, wrote everything and left, between this one's lease and its lock on the file."""
    folder.records("in.jsonl", numbered(10))
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")
    plain_client(url).hset("{p}:@sink:a", "checkpoint", "0")
    with (folder.path / "out.jsonl").open("ab") as somebody:
        fcntl.flock(somebody, fcntl.LOCK_EX)
        async with Running(folder.topology(), url) as late:
            await until(lambda: plain_client(url).hget("{p}:@sink:a", "epoch") == b"1")
            async with Running(folder.topology(), url) as newer:
                await until(lambda: plain_client(url).hget("{p}:@sink:a", "epoch") == b"2")
                # The newer one is through: as if it had had the lock before, and had let go of it again.
                (folder.path / "out.jsonl").write_text("all that it wrote\n")
                plain_client(url).hset("{p}:@sink:a", mapping={"epoch": "3", "owner": "newest", "checkpoint": "18"})
                fcntl.flock(somebody, fcntl.LOCK_UN)
                await until(lambda: late.worker.at_rest and newer.worker.at_rest)
                assert (folder.path / "out.jsonl").read_text() == "all that it wrote\n"


async def test_a_source_line_that_is_too_large_is_dead(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", [{"n": 1}, {"x": "y" * 3000}, {"n": 2}])
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s, max_record: 2KiB}\n")
    result = await folder.run(url)
    assert (result.counters.stages["a"].dead, dict(result.counters.stages["a"].emitted)) == (1, {"s": 2})
