"""How a process ends that is to end at once."""

from __future__ import annotations

import subprocess
import sys

from tests.harness import HANGS_SECONDS

LATE = """\
import threading
from papyra_flow.leaving import leave_at_once

class Late:
    def __del__(self):
        threading.Event().wait()

late = Late()
print("said")
leave_at_once(130)
"""


def test_a_process_that_leaves_at_once_waits_for_nothing_that_python_does_at_its_end() -> None:
    left = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=HANGS_SECONDS, check=False
    )
    assert (left.returncode, left.stdout, left.stderr) == (130, "said\n", "")
