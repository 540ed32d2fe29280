"""The second SIGTERM or SIGINT ends a run, whatever its steps are doing, and leaves no process behind."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.workload import patiently
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder

HOGS = {
    "a regex": 'import re\n        re.search("^(a+)+$", "a" * 60 + "!")',
    "a loop in C": "sum(iter(int, 1))",
    "a loop in Python": "while True: pass",
    "a loop that takes no exception": (
        "while True:\n            try:\n                while True: pass\n            except BaseException: pass"
    ),
    "a wait": "import threading\n        threading.Event().wait()",
}


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("hog", HOGS)
def test_a_second_signal_ends_any_step(
    folder: PipelineFolder, url: str, hog: str, number: signal.Signals, processes: str
) -> None:
    begun = folder.path / "begun"
    module = folder.steps(f"""
import os, pathlib
def f(r):
    with open({str(begun)!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    if True:
        {HOGS[hog]}
""")
    folder.pipeline(f"""
        pipeline: hog
        stages: {{a: {{from: in, process: [{{run: "{module}:f"}}], to: out}}}}
        streams: {{in: {{}}, out: {{}}}}
        """)
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin='{"n": 1}\n')
    running = folder.start("run", "pipeline.yml", "--redis", url, "--processes", processes)
    try:
        patiently(lambda: begun.exists() and begun.read_text().endswith("\n"), "the step")
        running.send_signal(number)
        _come_to(running, number)
        running.send_signal(number)
        code = running.wait(HANGS_SECONDS)
    finally:
        running.kill()
        running.communicate()
    assert code in {-number, 128 + number}
    workers = [Path("/proc") / pid for pid in begun.read_text().split()]
    patiently(lambda: not any(worker.exists() for worker in workers), "the end of every process")


def test_worker_processes_end_with_a_parent_that_is_killed(folder: PipelineFolder, url: str) -> None:
    """Also where a step never lets them notice."""
    begun = folder.path / "begun"
    module = folder.steps(f"""
import os
def f(r):
    with open({str(begun)!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    while True:
        pass
""")
    folder.pipeline(f"""
        pipeline: hog
        stages: {{a: {{from: in, process: [{{run: "{module}:f"}}], to: out}}}}
        streams: {{in: {{}}, out: {{}}}}
        """)
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin='{"n": 1}\n')
    running = folder.start("run", "pipeline.yml", "--redis", url, "--processes", "2")
    try:
        patiently(lambda: begun.exists() and begun.read_text().endswith("\n"), "the step")
    finally:
        running.kill()
        running.communicate()
    workers = [Path("/proc") / pid for pid in begun.read_text().split()]
    patiently(lambda: not any(worker.exists() for worker in workers), "the end of every process")


def _come_to(running: subprocess.Popen[str], number: int) -> None:
    """Wait until the process has taken the signal: two at once would be one."""

    def taken() -> bool:
        status = Path(f"/proc/{running.pid}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))
        return not any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())

    patiently(taken, "the first signal")
