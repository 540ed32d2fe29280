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
