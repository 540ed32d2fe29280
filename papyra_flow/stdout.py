"""Standard output, written whole, whatever it is: a bare file, a full disk, an old locale, closed.

Where Python is told not to buffer (`-u`, `PYTHONUNBUFFERED`, as in many containers), standard output is the bare file,
whose `write` may take only a part of what it is given (write(2)), and tells only by its return value. Everything
that leaves here, records above all, is written until nothing of it is left.
"""

from __future__ import annotations

import io
import os
import sys


def write_whole(data: bytes) -> None:
    """Write bytes to standard output, all of them, and flush; raises OSError."""
    stream = sys.stdout.buffer
    left = memoryview(data)
    while left:
        left = left[stream.write(left) or 0 :]
    stream.flush()


def mend_stdout() -> None:
    """Make printing safe, before anything is printed.

    A buffer between `print` and a bare standard output (lines still leave when they end); escapes for characters that
    its encoding does not have; and something in the place of standard streams that are closed, because Python has None
    there, and the next file that is opened would get their number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _closed(number))
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper):
        if isinstance(old.buffer, io.RawIOBase):
            encoding, errors = old.encoding, old.errors
            old = sys.stdout = io.TextIOWrapper(io.BufferedWriter(old.detach()), encoding, errors, line_buffering=True)
        if old.errors == "strict":
            old.reconfigure(errors="backslashreplace")


def why_unwritable() -> str | None:
    """Flush standard output; says why that cannot be done, and then lets go of what is left in it.

    Raises BrokenPipeError.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        forget_stdout()
        return exc.strerror or str(exc)
    return None


def forget_stdout() -> None:
    """Have the rest go nowhere, so that the process does not fail at its exit, when Python flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _closed(number: int) -> io.TextIOWrapper:
    """In the place of a closed stream: input is empty, output fails as it would, errors go nowhere."""
    writing = number == 2
    opened = os.open(os.devnull, os.O_RDWR if writing else os.O_RDONLY)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    return open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
