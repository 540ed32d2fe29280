"""Python's cyclic garbage collector, told what our objects are like.

A batch is some thousands of containers that live for milliseconds and hold no cycles. With the interpreter's usual
threshold (700 allocations) the collector looks at them again and again, and finds nothing: a tenth of the time.
What step functions leave in cycles is still collected, only later.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

THRESHOLD = 50_000
"""Container objects, net of those freed, before a look; several batches of a few consumers stay below it."""


@contextmanager
def tuned_gc() -> Iterator[None]:
    """Leave alone what is there already, and look less often, until the end; then all is as before.

    Workers of one process overlap: the first to begin changes it, and the last to end puts it back.
    """
    with _Tuned.lock:
        if not _Tuned.workers:
            _Tuned.before = before = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(max(THRESHOLD, before[0]), *before[1:])
        _Tuned.workers += 1
    try:
        yield
    finally:
        with _Tuned.lock:
            _Tuned.workers -= 1
            if not _Tuned.workers:
                gc.set_threshold(*_Tuned.before)
                gc.unfreeze()


class _Tuned:
    """Who needs it, and how it was before; one a process, as the collector is."""

    lock: ClassVar = threading.Lock()
    workers = 0
    before = (0, 0, 0)
