"""`run --processes`: one Ctrl-C means one thing, and an end is told once, whenever it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import COMMAND, PipelineFolder
from tests.harness.processes import children
from tests.harness.servers import eventually

ENDLESS = """\
pipeline: p
stages:
  g: {read: {generate: {rate: 100}}, to: in}
  s: {from: in, process: [{filter: n >= 0}], to: out}
"""


def test_an_end_that_goes_well_says_nothing_else(folder: PipelineFolder, url: str) -> None:
    folder.pipeline(ENDLESS.replace("rate: 100", "count: 100"))
    assert folder.cli("run", "pipeline.yml", "--processes", "2", "--redis", url).err == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the children in /proc")
@pytest.mark.parametrize("number", [1, 2])
def test_a_ctrl_c_while_processes_start_shows_no_traceback(folder: PipelineFolder, url: str, number: int) -> None:
    """The terminal sends it to all of them, and a child that still imports has no handler of its own yet."""
    folder.pipeline(ENDLESS)
    run = subprocess.Popen(
        [*COMMAND, "run", "pipeline.yml", "--processes", "2", "--redis", url],
        cwd=folder.path, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    eventually(lambda: len(children(run.pid)) >= number or run.poll() is not None, "a child")
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=HANGS_SECONDS)
    assert "Traceback" not in err
    assert run.returncode == 0, err
