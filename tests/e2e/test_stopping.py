"""A run that is told to stop while its steps are at work says so, and nothing that is not so."""

from __future__ import annotations

import signal

import pytest

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, line_of
from tests.harness.servers import eventually


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_step_is_at_work_is_blamed_on_no_step(
    folder: PipelineFolder, url: str, number: signal.Signals
) -> None:
    module = folder.steps(
        """\
        import pathlib, time
        def step(record):
            pathlib.Path("begun").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
            return record
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        stages: {{a: {{from: s, process: [{{run: "{module}:step"}}], to: t}}}}
        streams: {{s: {{}}}}
        """
    )
    folder.cli("add", "pipeline.yml", "s", "--redis", url, stdin='{"n": 1}\n')
    process = folder.start("run", "pipeline.yml", "--redis", url)
    begun, go = folder.path / "begun", folder.path / "go"
    eventually(begun.exists, "the step")
    process.send_signal(number)
    line_of(process, "stopping")
    go.touch()
    _, err = process.communicate(timeout=HANGS_SECONDS)
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_while_the_command_is_imported_ends_it_without_a_word(chain: PipelineFolder) -> None:
    chain.write("typer.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('it went on')\n")
    finished = chain.cli("run", "pipeline.yml", code=130)
    assert (finished.out, finished.err) == ("", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (("serve", "pipeline.yml", "--port", "0"), "serving p on"),
        (("status", "pipeline.yml", "--watch"), "last_id"),
        (("tap", "pipeline.yml", "s", "--follow"), '"n":1'),
    ],
)
def test_what_goes_on_until_it_is_stopped_ends_with_0_and_leaves_no_server(
    chain: PipelineFolder, verb: tuple[str, ...], said: str, number: signal.Signals
) -> None:
    chain.cli("add", "pipeline.yml", "s", stdin='{"n":1}\n')
    process = chain.start(*verb)
    line_of(process, said, process.stdout)
    process.send_signal(number)
    _, err = process.communicate(timeout=HANGS_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert not (chain.path / ".papyra-flow" / "p" / "server.sock").exists()


def test_a_step_that_takes_away_the_memory_of_its_process_does_not_hang_the_run(
    folder: PipelineFolder, url: str
) -> None:
    module = folder.steps(
        """\
        import resource
        def step(record):
            resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))
            return record
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        stages: {{a: {{from: s, process: [{{run: "{module}:step"}}], to: t}}}}
        streams: {{s: {{}}}}
        """
    )
    folder.cli("add", "pipeline.yml", "s", "--redis", url, stdin='{"n": 1}\n')
    finished = folder.cli("run", "pipeline.yml", "--drain", "--redis", url, code=None)
    assert "a step lowered RLIMIT_AS" in finished.err
    assert finished.code == 1 or "restored" in finished.err, "only root may raise a hard limit"
