"""Opening a file for a sink: a regular file, for appending, with a lock (flock(2)) that keeps other processes out."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import os
import stat
from pathlib import Path

from papyra_flow.errors import ConnectorError

LOCK_RETRY_SECONDS = 0.2
TELL_AFTER_SECONDS = 3.0
TELL_AGAIN_SECONDS = 60.0
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_log = logging.getLogger("papyra_flow.sink")


def unfit(path: Path) -> str | None:
    """Why a path cannot be a sink's file; None if it can, or if nothing is there yet."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return None
    return f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'not a file')}, and a sink needs a regular file"


async def open_locked(path: Path, *, create: bool = True, within: float = math.inf) -> int:
    """Open a file and wait for its lock; returns the descriptor.

    A file that was renamed or replaced meanwhile is let go of, and the one that is there now opened instead. Raises
    OSError, TimeoutError where it stays locked for `within` seconds, and ConnectorError for what is not a file.
    """
    while True:
        descriptor = _open(path, create=create)
        try:
            await _lock(descriptor, path, within)
            if is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that a path names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths name one file that is there."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _open(path: Path, *, create: bool) -> int:
    if reason := unfit(path):
        raise ConnectorError(f"cannot write: {reason}; `write: stdout` prints records")
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    return os.open(path, flags, 0o666)


async def _lock(descriptor: int, path: Path, within: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    tell_at = began + TELL_AFTER_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = loop.time()
            if now - began >= within:
                raise TimeoutError(f"{path} is locked") from None
            if now >= tell_at:
                _log.warning("waiting for the lock on %s: another process is writing it", path)
                tell_at = now + TELL_AGAIN_SECONDS
            await asyncio.sleep(LOCK_RETRY_SECONDS)
        else:
            return
