"""The end of a process in which steps have left threads behind: Python would wait for them for ever."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

WAIT_SECONDS = 1.0


def leave(code: int) -> NoReturn:
    """Exit with this code; threads that are still running shortly after are named, and end with the process."""
    deadline = time.monotonic() + WAIT_SECONDS
    for thread in _others():
        thread.join(max(0.0, deadline - time.monotonic()))
    if not (left := _others()):
        sys.exit(code)
    with suppress(OSError, ValueError, AttributeError):
        names = ", ".join(thread.name[:100] for thread in left[:5])
        sys.stderr.write(f"papyra-flow: {len(left)} threads started by steps did not end ({names}): left behind\n")
    leave_at_once(code)


def leave_at_once(code: int) -> NoReturn:
    """Exit with this code, without what Python does at its end: that may take seconds on a busy machine."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _others() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
