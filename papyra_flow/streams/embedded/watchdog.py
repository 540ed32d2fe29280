"""Starting the embedded server again when it ends under a run, e.g. because the system was out of memory.

A thread holds a connection on which nothing is ever said: its end is the server's.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from papyra_flow.errors import EmbeddedServerError

OFTEN = 3
OFTEN_SECONDS = 30.0
"""A server that ends more than `OFTEN` times in this many seconds would end again: it is left alone."""

LOOK_SECONDS = 1.0

_log = logging.getLogger("papyra_flow.server")


class Watchdog:
    """Looks after the server at a Unix socket: `begin`, and `end` before it is stopped on purpose."""

    def __init__(self, path: Callable[[], Path], revive: Callable[[], None], is_there: Callable[[], bool]) -> None:
        """`is_there` says whether the server's folder is still what it was."""
        self._path = path
        self._is_there = is_there
        self._revive = revive
        self._connection: socket.socket | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="papyra-flow-caretaker", daemon=True)

    def begin(self) -> None:
        """Look after it from now on."""
        self._connection = self._connected()
        self._thread.start()

    def end(self) -> None:
        """Leave it to itself; returns when nothing can start it any more."""
        self._ending.set()
        if (connection := self._connection) is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self._path()))
        return connection

    def _wait(self, connection: socket.socket) -> None:
        """Until the server ends, or we are to: it sends nothing unasked."""
        connection.settimeout(LOOK_SECONDS)
        told = False
        while True:
            try:
                connection.recv(1)
            except TimeoutError:
                if not told and not self._is_there():
                    _log.error("the embedded server's folder was deleted: its data is lost when this run ends")
                    told = True
            else:
                return

    def _run(self) -> None:
        revivals: deque[float] = deque(maxlen=OFTEN)
        while (connection := self._connection) is not None and not self._ending.is_set():
            with connection, suppress(OSError):
                self._wait(connection)
            if self._ending.is_set():
                return
            now = time.monotonic()
            if len(revivals) == OFTEN and now - revivals[0] < OFTEN_SECONDS:
                _log.error("the embedded server keeps exiting; not restarting it")
                return
            revivals.append(now)
            _log.warning("the embedded server exited; restarting it")
            try:
                self._revive()
                self._connection = self._connected()
            except (EmbeddedServerError, OSError) as exc:
                _log.warning("%s", exc)  # it has ended once more, as the connection says that stays closed
