"""Consumers' names: `HOST.PID.STAGE.NUMBER`, so that everyone can see who holds what, and whether it is still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from papyra_flow.processes import is_alive


def process_name() -> str:
    """This process: host and process id."""
    return f"{socket.gethostname()}.{os.getpid()}"


def consumer_name(process: str, stage: str, number: int) -> str:
    """A consumer of a stage in a process."""
    return f"{process}.{stage}.{number}"


def gone(names: Iterable[str]) -> list[str]:
    """Those of the consumers that were processes of this host and are not there any more."""
    host = socket.gethostname()
    return [name for name in names if (pid := _pid_on(host, name)) is not None and not is_alive(pid)]


def _pid_on(host: str, name: str) -> int | None:
    parts = name.rsplit(".", 3)
    if len(parts) == 4 and parts[0] == host and parts[1].isdigit() and parts[3].isdigit():
        return int(parts[1])
    return None
