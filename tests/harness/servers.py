"""Real servers for tests: the embedded Valkey, Debian's redis-server, and Redis 8 in a container; never a fake.

`FLAVOURS` are the kinds of server that tests are run against; one that this machine does not have is skipped with
the reason. `LocalServer` is a process of our own that a test may configure, kill, pause and start again.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from papyra_flow.streams.embedded.server import find_server
from tests.harness import HANGS_SECONDS

VALKEY = "valkey"
REDIS = "redis"
CONTAINER = "redis8"
FLAVOURS = (VALKEY, REDIS, CONTAINER)


def eventually(condition: Callable[[], object], what: str = "the condition", seconds: float = HANGS_SECONDS) -> None:
    """Wait until a condition holds; fails the test if it never does."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come about within {seconds:g} s")
        pause.wait(0.01)


def plain_client(url: str) -> redis.Redis:
    """A plain client for a test's own look at a server; it never repeats a command."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=HANGS_SECONDS)


@dataclass
class LocalServer:
    """A server process on a Unix socket, or on a loopback port where `port` is given."""

    program: str
    folder: Path
    arguments: Sequence[str] = ()
    port: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.folder / 's.sock'}"

    @property
    def client(self) -> redis.Redis:
        """A new plain client."""
        return plain_client(self.url)

    def start(self) -> LocalServer:
        """Start the process and wait until it answers; data of an earlier start is loaded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        where = ["--port", str(self.port or 0), "--bind", "127.0.0.1"]
        if not self.port:
            where += ["--unixsocket", str(self.folder / "s.sock")]
        common = ["--dir", str(self.folder), "--save", "", "--daemonize", "no", "--logfile", str(self.folder / "log")]
        self.process = subprocess.Popen([self.program, *where, *common, *self.arguments], stdin=subprocess.DEVNULL)
        eventually(self.answers, f"{self.program} at {self.url}")
        return self

    def answers(self) -> bool:
        """Whether it answers; fails the test if its process has ended."""
        if self.process is not None and self.process.poll() is not None:
            pytest.fail(f"{self.program} ended: {(self.folder / 'log').read_text()[-2000:]}")
        try:
            with self.client as found:
                return bool(found.ping())
        except redis.AuthenticationError:
            return True
        except (redis.RedisError, OSError):
            return False

    def is_master(self) -> bool:
        """Whether it may be written to, as far as it knows."""
        return bool(self._replication()["role"] == "master")

    def in_step(self) -> bool:
        """Whether it is a replica that has all that its master has."""
        facts = self._replication()
        return bool(facts["role"] == "slave" and facts["master_link_status"] == "up")

    def _replication(self) -> dict[str, Any]:
        with self.client as plain:
            facts: Any = plain.info("replication")
            return dict(facts)

    def kill(self) -> None:
        """End it as a power failure would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Stop it from running; connections stay open and stall."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and wait for that."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def program_of(flavour: str) -> str:
    """The server program of a flavour; skips the test, with the reason, where there is none."""
    if flavour == VALKEY:
        return str(find_server())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on PATH (Debian: apt-get install redis-server)")
    return found


@cache
def docker_refusal() -> str | None:
    """Why no container can be started here, or None."""
    try:
        import docker

        docker.from_env().ping()
    except Exception as exc:  # noqa: BLE001 - whatever the reason, it is the skip's reason
        return f"no Docker engine answers: {type(exc).__name__}"
    return None
