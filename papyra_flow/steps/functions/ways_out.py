"""Ways out of the process that a step may take, and that would pass for the end of a run.

`os._exit(0)` in a step would end the worker with exit code 0 while records are on their way, and `os.exec...` with the
exit code of another program. During a run, both fail only their record.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from papyra_flow.steps.functions import forks

end_process = os._exit
"""What ends this process at once, even during a run."""

_execv, _execve = os.execv, os.execve


def _exit_instead(status: int) -> NoReturn:
    if forks.is_worker():
        raise SystemExit(f"os._exit({status})")
    end_process(status)


def _execv_instead(path: Any, argv: Any, /) -> NoReturn:
    _refuse("execv")
    _execv(path, argv)


def _execve_instead(path: Any, argv: Any, env: Any) -> NoReturn:
    _refuse("execve")
    _execve(path, argv, env)


def _refuse(name: str) -> None:
    if forks.is_worker():
        raise OSError(f"os.{name}() would replace the worker process: use `subprocess` instead")


os._exit = _exit_instead
os.execv, os.execve = _execv_instead, _execve_instead  # all others of `os` come to these
