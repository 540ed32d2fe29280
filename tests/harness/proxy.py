"""A proxy on loopback between a worker and its server that cuts, stalls, and swallows replies.

One thread a direction; what it does next is decided for each chunk by a seeded dice. `harm` counts what it did.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from contextlib import suppress


class Proxy:
    """Listens on `port`; `calm` makes it a plain pipe again."""

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._dice = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._calm = threading.Event()
        self._closed = False
        self.harm: Counter[str] = Counter()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The address for a worker."""
        return f"redis://127.0.0.1:{self.port}"

    def calm(self) -> None:
        """Do no more harm."""
        self._calm.set()

    def close(self) -> None:
        """Take no more connections."""
        self._closed = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pump, args=(ours, theirs, "request"), daemon=True).start()
            threading.Thread(target=self._pump, args=(theirs, ours, "reply"), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, what: str) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                fate = self._fate(what)
                if fate == "cut":
                    break
                if fate == "half":
                    target.sendall(data[: len(data) // 2])
                    break
                if fate == "swallow":
                    break  # the server has executed it; nobody will ever hear
                if fate == "stall":
                    self._calm.wait(0.5)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _fate(self, what: str) -> str | None:
        if self._calm.is_set():
            return None
        roll = self._dice.random()
        fate = None
        if roll < 0.004:
            fate = "cut"
        elif roll < 0.008:
            fate = "half"
        elif roll < 0.012:
            fate = "stall"
        elif roll < 0.018 and what == "reply":
            fate = "swallow"
        if fate:
            self.harm[f"{fate} {what}"] += 1
        return fate
