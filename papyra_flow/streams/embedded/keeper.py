"""The embedded server's parent: it starts the server, and ends it when the last process that uses it is gone.

Run as a program of its own (`python -I -S keeper.py`, in the server's folder, with the server's command on standard
input, a word a line), because its users may end in any way: killed, out of memory, at a second Ctrl-C.
Users hold a shared lock on `users.lock`, which the system takes back from whatever is gone (flock(2)); the server
itself holds `server.lock`, so that there is one in a folder. Nothing but the standard library is imported here: it has
to start at once.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

USERS, SERVER = "users.lock", "server.lock"
LOCK_TRIES, LOCK_SECONDS = 100, 0.05
TAKEN = 75
"""The exit code where another server has the folder (EX_TEMPFAIL of sysexits.h)."""


def main(command: list[str]) -> NoReturn:
    """Run the server to its end, and exit with its code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with Path(SERVER).open("ab") as ours, Path(USERS).open("ab") as users:
        _lock(ours.fileno())
        # It inherits the lock, and has it as long as it lives, whatever becomes of us.
        server = subprocess.Popen(  # noqa: S603 - our own server, our own arguments
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=[ours.fileno()], preexec_fn=_with_usual_signals,  # noqa: PLW1509 - before any thread
        )  # fmt: skip
        threading.Thread(target=_end_after_the_last, args=(users.fileno(), server), daemon=True).start()
        code = server.wait()
    os._exit(code if code >= 0 else 128 - code)


def _lock(descriptor: int) -> None:
    """Take the folder; a server that is just ending still has it briefly."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOCK_SECONDS)
        else:
            return
    sys.exit(TAKEN)


def _with_usual_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _end_after_the_last(users: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until no one has the lock. While we hold it, no process can begin to use the server that ends."""
    fcntl.flock(users, fcntl.LOCK_EX)
    server.terminate()  # an orderly end: what is in its buffers is written
    server.wait()


if __name__ == "__main__":
    main(os.fsdecode(sys.stdin.buffer.read()).split("\n"))
