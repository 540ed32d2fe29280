"""Components of the user's own at work: what their errors lead to, and what they are told."""

from __future__ import annotations

import json

import pytest

from papyra_flow.errors import ConfigurationError, ConnectorError, SetupError
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
