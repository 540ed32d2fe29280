"""Whether a process may open as many files as its share of a pipeline needs: a connection a consumer, and some more.

Found out before the first of them, because a process that runs short of descriptors fails wherever it happens to be.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from papyra_flow.errors import OpenFilesError

SPARE = 16
"""Descriptors for what comes and goes: modules that are imported, tables that are loaded, names that are resolved."""
_USUALLY_OPEN = 32


def ensure_open_files(consumers: int, connectors: int) -> None:
    """Raise this process' limit of open files as far as it needs and may; OpenFilesError where that is not enough."""
    needed = _open_now() + consumers + 2 * connectors + SPARE
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or needed <= limit:
        return
    if most == resource.RLIM_INFINITY or needed <= most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
            return
    raise OpenFilesError(
        f"{consumers} consumers need about {needed} open files, and this process may have {limit}: "
        f"raise the limit (`ulimit -n {needed}`) or lower `consumers`"
    )


def _open_now() -> int:
    try:
        return len(list(Path("/dev/fd").iterdir()))
    except OSError:
        return _USUALLY_OPEN
