"""Standard output, written whole.

Where Python is told not to buffer (`-u`, `PYTHONUNBUFFERED`, as in many containers), standard output is the bare file,
whose `write` may take only a part of what it is given (write(2)), and says so only in its return value. Everything
that leaves here, records above all, is written until nothing of it is left.
"""

from __future__ import annotations

import io
import sys


def write_whole(data: bytes) -> None:
    """Write bytes to standard output, all of them, and flush; raises OSError."""
    stream = sys.stdout.buffer
    left = memoryview(data)
    while left:
        left = left[stream.write(left) or 0 :]
    stream.flush()


def mend_stdout() -> None:
    """Put a buffer between `print` and a bare standard output; lines still leave when they end."""
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper) and isinstance(old.buffer, io.RawIOBase):
        encoding, errors = old.encoding, old.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(old.detach()), encoding, errors, line_buffering=True)
