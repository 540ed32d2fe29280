"""The embedded server's parent: what ends others does not end it, and without it there is one server still."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from papyra_flow.errors import EmbeddedServerError
from papyra_flow.streams.embedded.server import EmbeddedServer
from tests.harness.servers import eventually
from tests.integration.test_embedded import alive, pid_of, user


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ignored_by(pid: int) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = int(next(line for line in lines if line.startswith("SigIgn:")).split()[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_a_keeper_ignores_what_ends_others_and_a_server_holds_its_folder_without_one(tmp_path: Path) -> None:
    with user(tmp_path) as (process, url):
        pid = pid_of(url)
        keeper = parent_of(pid)
        try:
            assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= ignored_by(keeper)
            os.kill(keeper, signal.SIGKILL)
            eventually(lambda: parent_of(pid) != keeper, "another parent")
            Path(url.removeprefix("unix://")).unlink()
            with pytest.raises(EmbeddedServerError, match="another server has"):
                EmbeddedServer(tmp_path, "p").start()
        finally:
            process.kill()
            process.wait()
            os.kill(pid, signal.SIGTERM)
    eventually(lambda: not alive(pid), "the server's end")
