"""Loopback ports that are free at the moment."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, LAST = 10_000, 32_000
"""Below the ports that the system gives to clients: one of those might have it before the server does."""

_START = os.getpid() * 997
_turn = itertools.count()


def free_port() -> int:
    """A port that nobody listens on, and that neither this process nor, most likely, another one is given again."""
    while True:
        port = FIRST + (_START + next(_turn)) % (LAST - FIRST)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
