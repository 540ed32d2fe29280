"""Components of the user's own at work: what their errors lead to, and what they are told."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
import redis

from papyra_flow.errors import ConfigurationError, ConnectorError, SetupError
from papyra_flow.observe.status import status
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, Running, until

NUMBERS = """\
    from pydantic import Field
    from papyra_flow import ConfigurationError, ConnectorError, Portion, Source, TransientError

    class Numbers(Source):
        '''Count.'''
        because = "the next number moves with the numbers"
        fails: str = Field("", description="What every second opened one raises.")
        _next: int = 0

        def setup(self, context):
            self._log = context.folder / "log"
            self.tell("setup")

        def tell(self, *words):
            with self._log.open("a") as file:
                print(*words, file=file)

        def resume(self, checkpoint):
            self.tell("resume", checkpoint)
            self._next = int(checkpoint or 0)

        async def read(self, count):
            if self.fails == "always transient":
                raise TransientError("503", retry_after=0)
            if self.fails and self._next == 4:
                self.fails_now()
            self._next += 1
            return Portion([{"n": self._next}], str(self._next), done=self._next == 8)

        def fails_now(self):
            times = self._log.read_text().count("fails")
            self.tell("fails")
            if self.fails == "transient" and times < 3:
                raise TransientError("429", retry_after=0.01)
            if self.fails == "bare":
                raise ConnectorError("odd")
            if self.fails == "other":
                raise OSError("gone")
            if self.fails == "configuration":
                raise ConfigurationError("no such topic")

        async def committed(self, checkpoint):
            self.tell("committed", checkpoint)
            if self.fails == "committed":
                raise OSError("the queue is gone")

        def teardown(self):
            self.tell("teardown")
    """


def numbers(folder: PipelineFolder, fails: str) -> PipelineFolder:
    folder.write("numbers.py", NUMBERS)
    return folder.pipeline(f"""\
        pipeline: p
        defaults: {{retry: {{attempts: 3, backoff: 1ms..2ms}}}}
        stages:
          a: {{read: {{./numbers.py:Numbers: {{fails: {fails!r}}}}}, to: n}}
          b: {{from: n, write: {{jsonl: out.jsonl}}}}
        """)


def told(folder: PipelineFolder) -> list[str]:
    return (folder.path / "log").read_text().splitlines()


async def test_a_transient_error_of_a_source_is_waited_for_and_it_is_opened_again_at_its_checkpoint(
    folder: PipelineFolder, url: str
) -> None:
    await numbers(folder, "transient").run(url)
    assert [record["n"] for record in folder.output("out.jsonl")] == [*range(1, 9)]
    lines = told(folder)
    assert lines.count("fails") == 4, "more often than `attempts`"
    assert [line for line in lines if line.startswith("resume")] == ["resume ", *["resume 4"] * 3]
    assert lines.count("setup") == lines.count("teardown") == 4


async def test_a_source_is_told_what_is_committed_and_never_more(folder: PipelineFolder, url: str) -> None:
    await numbers(folder, "").run(url)
    committed = [line for line in told(folder) if line.startswith("committed")]
    assert committed == [f"committed {number}" for number in range(1, 9)]


@pytest.mark.parametrize(
    ("fails", "tries", "error", "message"),
    [
        ("configuration", 1, ConfigurationError, "no such topic"),
        ("bare", 3, ConnectorError, "odd"),
        ("other", 3, ConnectorError, "Numbers: `read` failed: OSError: gone"),
    ],
)
async def test_errors_of_a_source_that_waiting_does_not_cure_end_the_run(
    folder: PipelineFolder, url: str, fails: str, tries: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await numbers(folder, fails).run(url)
    assert told(folder).count("fails") == tries


async def test_a_committed_that_always_fails_is_tried_again_as_often_as_allowed_and_then_ends_the_run(
    folder: PipelineFolder, url: str
) -> None:
    numbers(folder, "committed")
    with pytest.raises(ConnectorError, match="`committed` failed: OSError: the queue is gone"):
        await asyncio.wait_for(folder.run(url), HANGS_SECONDS)
    assert told(folder).count("setup") == 3


async def test_a_run_whose_source_is_away_can_be_stopped(folder: PipelineFolder, url: str) -> None:
    async with Running(numbers(folder, "always transient").topology(), url) as running:
        log = folder.path / "log"
        await until(lambda: log.exists() and log.read_text().count("teardown") > 5)
        assert not running.ended
        assert await running.stop() == "stopped"


SERVICE = """\
    class Score:
        def __init__(self):
            self.log = None

        async def setup(self, context):
            self.log = context.folder / "log"
            self.tell("setup", context.pipeline, context.stage)
            if (context.folder / "refuse").exists():
                raise OSError("no pool")

        def tell(self, *words):
            with self.log.open("a") as file:
                print(*words, file=file)

        def __call__(self, record, context):
            return {**record, "at": context.stage, "key": context.idempotency_key, "attempt": context.attempt}

        def teardown(self):
            self.tell("teardown")
    """


def service(folder: PipelineFolder) -> PipelineFolder:
    module = folder.steps(SERVICE)
    folder.records("in.jsonl", [{"n": 1}, {"n": 2}])
    return folder.pipeline(f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: n}}
          b: {{from: n, process: [{{run: "{module}:Score"}}], write: {{jsonl: out.jsonl}}}}
        """)


async def test_a_class_is_set_up_once_a_stage_and_torn_down_at_the_end(folder: PipelineFolder, url: str) -> None:
    await service(folder).run(url, "stages.b.write=stdout", "stages.b.consumers=3")
    assert told(folder) == ["setup p b", "teardown"]


async def test_a_setup_that_fails_ends_the_run_with_one_sentence_and_is_torn_down(
    folder: PipelineFolder, url: str
) -> None:
    service(folder).write("refuse", "")
    with pytest.raises(SetupError, match=r"steps_\w+:Score of 'b' could not be set up: OSError: no pool"):
        await folder.run(url)
    assert told(folder) == ["setup p b", "teardown"]


async def test_a_records_key_is_the_same_when_it_is_delivered_again(folder: PipelineFolder, url: str) -> None:
    module = folder.steps("""
        from papyra_flow import Context, Retry
        import json

        def try_twice(record, context: Context):
            with (context.folder / "log").open("a") as file:
                print(json.dumps([context.idempotency_key, context.attempt, context.stream]), file=file)
            if context.attempt < 3:
                raise Retry(after=0)
            return record
        """)
    folder.records("in.jsonl", [{"n": 1}])
    folder.pipeline(f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: n}}
          b: {{from: n, process: [{{run: "{module}:try_twice"}}], write: {{jsonl: out.jsonl}}}}
        """)
    await folder.run(url)
    keys, attempts, streams = zip(*map(json.loads, told(folder)), strict=True)
    assert len(set(keys)) == 1
    assert keys[0].startswith("b/{p}:n/")
    assert keys[0].endswith("-0/0")
    assert attempts == (1, 2, 3)
    assert set(streams) == {"{p}:n"}


SINK = """\
    from pydantic import Field
    from papyra_flow import ConfigurationError, ConnectorError, RecordsError, Sink, TransientError

    class Log(Sink):
        '''Append to a file.'''
        because = "of its keys"
        fails: str = Field("", description="What the third record makes it raise.")

        def setup(self, context):
            self._folder = context.folder
            self.tell("log", "setup")
            if self.fails == "away" and self.said("log").count("setup") == 1:
                raise TransientError("connection refused", retry_after=0.01)
            if self.fails == "not away" and self.said("log").count("setup") == 1:
                raise OSError("no route")
            if self.fails == "comes back" and 1 < self.said("log").count("setup") < 6:
                raise OSError("no route")

        def tell(self, file, *words):
            with (self._folder / file).open("a") as opened:
                print(*words, file=opened)

        def said(self, file):
            return (self._folder / file).read_text().splitlines()

        async def write(self, records, keys):
            self.tell("log", "write")
            writes = self.said("log").count("write")
            bad = [place for place, record in enumerate(records) if record["n"] == 3]
            if bad and self.fails == "503" and writes < 8:
                raise TransientError("503", retry_after=0.01)
            if bad and self.fails == "comes back" and writes < 2:
                raise TransientError("503", retry_after=0.01)
            if bad and self.fails == "forever":
                raise TransientError("503", retry_after=0.01)
            if bad and self.fails == "bare":
                raise ConnectorError("odd")
            if bad and self.fails == "other":
                raise OSError("gone")
            if bad and self.fails == "configuration":
                raise ConfigurationError("no such table")
            refused = {place: "too large" for place in bad} if self.fails == "record" else {}
            for place, (record, key) in enumerate(zip(records, keys)):
                if place not in refused:
                    self.tell("out", record["n"], key)
            if refused:
                raise RecordsError(refused)

        def teardown(self):
            self.tell("log", "teardown")
    """


def sink(folder: PipelineFolder, fails: str, process: str = "[]") -> PipelineFolder:
    folder.write("log_sink.py", SINK)
    folder.records("in.jsonl", [{"n": n} for n in range(1, 6)])
    return folder.pipeline(f"""\
        pipeline: p
        defaults: {{retry: {{attempts: 3, backoff: 1ms..2ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: n}}
          b: {{from: n, process: {process}, write: {{./log_sink.py:Log: {{fails: {fails!r}}}}}}}
        """)


def written(folder: PipelineFolder) -> list[tuple[int, str]]:
    lines = (folder.path / "out").read_text().splitlines()
    return [(int(number), key) for number, key in (line.split() for line in lines)]


@pytest.mark.parametrize("fails", ["503", "away", "comes back"])
async def test_a_transient_error_of_a_sink_is_waited_for_and_every_record_arrives(
    folder: PipelineFolder, url: str, fails: str
) -> None:
    result = await sink(folder, fails).run(url)
    assert [number for number, _ in written(folder)] == [1, 2, 3, 4, 5]
    assert (result.counters.stages["b"].written, result.counters.stages["b"].dead) == (5, 0)
    assert told(folder).count("setup") == told(folder).count("teardown")


async def test_records_that_a_sink_refuses_are_dead_with_its_words_and_the_others_arrive_once(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    result = await sink(folder, "record").run(url)
    assert [number for number, _ in written(folder)] == [1, 2, 4, 5]
    assert told(folder).count("write") == 1
    assert (result.counters.stages["b"].written, result.counters.stages["b"].dead) == (4, 1)
    found: Any = redis_client.xrange(folder.topology().stages["b"].dead_key)
    ((_, letter),) = found
    assert json.loads(letter[b"data"])["n"] == 3
    assert b"too large" in letter.values()


async def test_an_entry_fails_with_any_of_the_records_that_were_made_of_it(folder: PipelineFolder, url: str) -> None:
    folder.write("fan.py", "def out(record):\n    return [{'n': record['n']}, {'n': record['n'] + 10}]\n")
    result = await sink(folder, "record", '[{run: "fan:out"}]').run(url)
    assert (result.counters.stages["b"].written, result.counters.stages["b"].dead) == (8, 1)
    keys = [key for _, key in written(folder)]
    assert len(set(keys)) == 9
    assert {key.rpartition("/")[2] for key in keys} == {"0", "1"}
    assert all(key.startswith("{p}:n/") for key in keys)


@pytest.mark.parametrize(
    ("fails", "tries", "error", "message"),
    [
        ("configuration", 1, ConfigurationError, "no such table"),
        ("bare", 3, ConnectorError, "odd"),
        ("other", 3, ConnectorError, r"Log: `write` failed: OSError: gone"),
        ("not away", 0, ConnectorError, r"Log: `setup` failed: OSError: no route"),
    ],
)
async def test_errors_of_a_sink_that_waiting_does_not_cure_end_the_run(
    folder: PipelineFolder, url: str, fails: str, tries: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await sink(folder, fails).run(url)
    assert told(folder).count("write") == tries


async def test_status_says_what_a_sink_that_is_away_said(folder: PipelineFolder, url: str) -> None:
    topology = sink(folder, "forever").topology()
    async with Running(topology, url) as running:
        async with asyncio.timeout(HANGS_SECONDS):
            while True:
                document: Any = await status(running.server, topology)
                if "away" in document["stages"]["b"]:
                    break
                await asyncio.to_thread(threading.Event().wait, 0.05)
        assert document["stages"]["b"]["away"] == "503"
        assert "away" not in document["stages"]["a"]


async def test_a_run_whose_sink_is_away_can_be_stopped_and_nothing_is_lost(folder: PipelineFolder, url: str) -> None:
    async with Running(sink(folder, "forever").topology(), url) as running:
        log = folder.path / "log"
        await until(lambda: log.exists() and log.read_text().count("teardown") > 5)
        assert not running.ended
        assert await running.stop() == "stopped"
    await sink(folder, "").run(url)
    assert [number for number, _ in written(folder)] == [1, 2, 3, 4, 5]


async def test_a_row_of_a_table_that_a_sink_refuses_is_dead_by_itself(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    result = await sink(folder, "record", "[batch]").run(url)
    assert [number for number, _ in written(folder)] == [1, 2, 4, 5]
    assert (result.counters.stages["b"].written, result.counters.stages["b"].dead) == (4, 1)
    found: Any = redis_client.xrange(folder.topology().stages["b"].dead_key)
    ((_, letter),) = found
    assert json.loads(letter[b"data"])["n"] == 3
    assert b"too large" in letter.values()
