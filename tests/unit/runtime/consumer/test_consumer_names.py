"""Consumers' names say host, process and stage; those of dead processes of this host are known to be gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from papyra_flow.runtime.consumer.consumer_names import consumer_name, gone, process_name


def test_a_name_says_host_process_stage_and_number() -> None:
    assert consumer_name(process_name(), "enrich", 1) == f"{socket.gethostname()}.{os.getpid()}.enrich.1"


def test_only_dead_processes_of_this_host_are_gone() -> None:
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host, dead = socket.gethostname(), int(process.stdout)
    names = [
        f"{host}.{dead}.a.0", f"{host}.{os.getpid()}.a.0", f"elsewhere.{dead}.a.0", f"{host}.x.a.0", "own-name",
        f"{host}.99999999999999.a.0", f"{host}.1.a.0",
    ]  # fmt: skip
    assert gone(names) == [f"{host}.{dead}.a.0"]
