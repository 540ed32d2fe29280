"""What ends this process by signal though its code never gives up the GIL: a regex, a library in C.

Python runs its handlers, and its other threads, when the code at work lets it; the kernel does not wait. What does not
live here: what a signal means to a run (`signals`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from contextlib import suppress

_CLOCK_MONOTONIC = 1
_PR_SET_PDEATHSIG = 1
_SIGEV_SIGNAL = 0
_SIZE_OF_SIGEVENT = 64


def catch_once(number: int) -> None:
    """Let the next signal of this number come to Python's handler, and the one behind it end the process.

    The second comes into force when the handler has not run: it calls this again. Nothing happens where the C library
    has no such call (`sysv_signal`: glibc has).
    """
    with suppress(AttributeError, OSError):
        install, installed = ctypes.CDLL(None).sysv_signal, ctypes.pythonapi.PyOS_getsig
        install.argtypes, install.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        installed.argtypes, installed.restype = (ctypes.c_int,), ctypes.c_void_p
        install(number, installed(number))


def end_after(seconds: float, number: int) -> None:
    """Have the kernel end this process by this signal, unless it has ended by itself before."""
    signal.signal(number, signal.SIG_DFL)
    if not _timer(seconds, number):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent, which has this id, has ended (PR_SET_PDEATHSIG of prctl(2)).

    Nothing is lost by that; without it, a process whose step never gives up the GIL would never notice. Only on Linux.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _timer(seconds: float, number: int) -> bool:
    """Set a timer of the process' own (timer_create(2)), which sends any signal; False where there is none."""
    try:
        libc = ctypes.CDLL(None)
        create, settime = libc.timer_create, libc.timer_settime
    except (AttributeError, OSError):
        return False
    event = struct.pack("Pii", 0, number, _SIGEV_SIGNAL).ljust(_SIZE_OF_SIGEVENT, b"\0")
    timer = ctypes.c_void_p()
    if create(_CLOCK_MONOTONIC, event, ctypes.byref(timer)):
        return False
    whole = int(seconds)
    once = struct.pack("llll", 0, 0, whole, int((seconds - whole) * 1e9))
    return not settime(timer, 0, once, None)
