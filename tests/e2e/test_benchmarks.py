"""The benchmarks as a process: they measure something, whatever it is on a busy machine. Times are not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness import HANGS_SECONDS

ROOT = Path(__file__).parents[2]
BROKEN = ("Traceback", "Error")


def test_every_kind_of_row_runs_to_its_end() -> None:
    """Rows with a floor of their own, which speaks the commit's script without papyra-flow."""
    rows = ("hop", "latency", "tables", "server")
    command = [sys.executable, "-m", "benchmarks", *rows, "--runs", "1", "--scale", "0.02"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS, check=False)
    assert finished.returncode in {0, 1}, finished.stderr  # 1: a bound did not hold
    assert not any(word in finished.stdout + finished.stderr for word in BROKEN), finished.stderr
    for title in ("one hop", "latency", "three stages over tables", "the server"):
        assert f"\n{title}" in f"\n{finished.stdout}"
