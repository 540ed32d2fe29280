"""`papyra-flow run --watch` as a process: edits are taken up, nothing is lost, and a bad edit changes nothing."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually

STEPS = "def step(record):\n    return {**record, 'version': %d}\n"
FILE = """\
pipeline: p
stages:
  a: {from: s, process: [{filter: n >= 0}], to: t}
  b: {from: t, process: [{run: "steps:step"}], to: u%s}
streams: {s: {}, u: {retain: all}}
"""


class Watched:
    """A watched run, the lines that it says, and records that go through it all the while."""

    def __init__(self, folder: PipelineFolder, url: str, server: redis.Redis) -> None:
        self.folder = folder
        self.server = server
        self.sent = 0
        self.lines: list[str] = []
        self.process = folder.start("run", "pipeline.yml", "--watch", "--redis", url, PAPYRA_FLOW_LOG="text")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines += iter(self.process.stderr.readline, "")

    def send(self, count: int = 50) -> None:
        for _ in range(count):
            self.server.xadd("{p}:s", {"data": json.dumps({"n": self.sent})})
            self.sent += 1

    def arrived(self, stream: str = "u") -> list[dict[str, Any]]:
        entries: Any = self.server.xrange(f"{{p}}:{stream}")
        return [json.loads(fields[b"data"]) for _, fields in entries]

    def all_arrived(self) -> bool:
        return len(self.arrived()) >= self.sent

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    @property
    def restarts(self) -> int:
        """How many edits were taken up."""
        return sum("restarted" in line for line in self.lines)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(HANGS_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def watched(folder: PipelineFolder, url: str, redis_client: redis.Redis) -> Iterator[Watched]:
    folder.write("steps.py", STEPS % 1)
    folder.file.write_text(FILE % "")
    run = Watched(folder, url, redis_client)
    run.send()
    eventually(run.all_arrived, "the first records")
    yield run
    run.end()
    assert not run.said("Traceback"), run.lines


def test_a_step_that_is_edited_is_used_from_then_on(watched: Watched) -> None:
    watched.folder.write("steps.py", STEPS % 2)
    eventually(lambda: watched.said("restarted: b"), "the restart")
    watched.send()
    eventually(watched.all_arrived, "all records")
    assert [record["n"] for record in watched.arrived()] == list(range(watched.sent))
    assert {record["version"] for record in watched.arrived()[50:]} == {2}
    assert not watched.said("restarted: a"), "a stage that the edit does not concern goes on"


def test_an_edit_under_load_loses_and_doubles_nothing(watched: Watched) -> None:
    for version in range(2, 6):
        watched.folder.write("steps.py", STEPS % version)
        while watched.restarts < version - 1:
            watched.send(5)
    eventually(watched.all_arrived, "all records")
    assert sorted(record["n"] for record in watched.arrived()) == list(range(watched.sent))
    assert watched.arrived()[-1]["version"] == 5


def test_a_stage_may_be_added_changed_and_removed(watched: Watched) -> None:
    added = (FILE % "").replace("streams:", "  c: {from: u, process: [{set: {seen: 1 > 0}}], to: v}\nstreams:")
    watched.folder.file.write_text(added)
    eventually(lambda: watched.restarts == 1, "the new stage")
    eventually(lambda: len(watched.arrived("v")) == watched.sent, "its records")
    watched.folder.file.write_text(added.replace("1 > 0", "2 > 1, more: n"))
    eventually(lambda: watched.said("restarted: c\n"), "the changed stage, alone")
    watched.send()
    eventually(lambda: len(watched.arrived("v")) == watched.sent, "all records")
    assert "more" in watched.arrived("v")[-1]
    watched.folder.file.write_text(FILE % "")
    eventually(lambda: watched.restarts == 3, "the edit that takes it away")
    watched.send()
    eventually(watched.all_arrived, "all records where the others lead")
    assert len(watched.arrived("v")) == watched.sent - 50


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("pipeline.yml", FILE % ", wat: 1", "wat"),
        ("steps.py", "def step(record:\n", "cannot be imported"),
        ("steps.py", "def other(record):\n    return record\n", "has no function 'step'"),
        ("pipeline.yml", (FILE % "").replace("pipeline: p", "pipeline: q"), "cannot be renamed"),
    ],
)
def test_an_edit_that_is_not_valid_keeps_the_old_one_running_and_says_why(
    watched: Watched, name: str, text: str, words: str
) -> None:
    watched.folder.write(name, text) if name != "pipeline.yml" else watched.folder.file.write_text(text)
    eventually(lambda: watched.said(words), "the reason")
    assert watched.said("the previous version keeps running")
    watched.send()
    eventually(watched.all_arrived, "all records")
    assert {record["version"] for record in watched.arrived()} == {1}
    watched.folder.write("steps.py", STEPS % 3)
    watched.folder.file.write_text(FILE % "")
    eventually(lambda: watched.said("restarted: b"), "the edit that mends it")
    watched.send()
    eventually(watched.all_arrived, "all records")
    assert watched.arrived()[-1]["version"] == 3


@pytest.mark.parametrize(
    ("words", "why"), [(("--processes", "2"), "in one process"), (("--drain",), "runs until stopped")]
)
def test_watching_is_for_one_process_that_goes_on(folder: PipelineFolder, words: tuple[str, ...], why: str) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {read: {generate: {count: 1}}, to: t}}\n")
    assert why in folder.cli("run", "pipeline.yml", "--watch", *words, code=2).err


def test_a_record_that_ends_the_process_does_so_alone(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    """Whoever starts the run again gets past it, and nothing that another stage had in hand meanwhile is blamed."""
    folder.write(
        "steps.py",
        """\
        import asyncio, os

        def kill(record):
            return record if record["n"] != 25 else os.kill(os.getpid(), 9)

        async def linger(record):
            await asyncio.sleep(0.02)
            return record
        """,
    )
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {from: s, process: [{run: "steps:kill"}], to: t}
          b: {from: s, process: [{run: {function: "steps:linger", concurrency: 1}}], to: u}
        streams: {s: {retain: all}, t: {}, u: {}}
        """
    )
    for n in range(50):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})

    def done() -> bool:
        return (redis_client.xlen("{p}:t"), redis_client.xlen("{p}:@dead:a"), redis_client.xlen("{p}:u")) == (49, 1, 50)

    deaths = 0
    while not done():
        process = folder.start("run", "pipeline.yml", "--watch", "--redis", url)
        eventually(lambda: done() or process.poll() is not None)  # noqa: B023
        deaths += process.poll() is not None
        process.kill()
        process.communicate()
        assert redis_client.xlen("{p}:@dead:b") == 0
        assert deaths < 20
    assert deaths >= 3
