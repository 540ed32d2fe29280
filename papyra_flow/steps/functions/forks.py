"""A step that forks: the child must not continue as the worker that its parent is.

It would process and commit the same records over the same connections. A child that comes back from the step ends at
once, with the exit code that the step asked for; one that never comes back (multiprocessing, os.exec) is left alone,
and has the signal handlers of any process: with ours, `Pool.terminate` would stop the run and wait for ever.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

CODE_WITHOUT_EXIT = 70
in_child = False
"""Whether this process is the child of a worker, and no worker itself."""

_workers = 0
"""Runs in progress in this process: without one, a fork is not a step's."""
_at_work: list[object] = []

_OURS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGURG})
"""Signals that the parent has handlers for."""


def told_to_end(items: Sequence[T]) -> Sequence[T]:
    """The items for a loop that calls a step: in a child that one of the calls forks, no more of them come.

    That costs the loop nothing, as a look after each call would.
    """
    global _at_work  # noqa: PLW0603 - one a process
    found = list(items)
    _at_work = found  # type: ignore[assignment]
    return found


@contextmanager
def working() -> Iterator[None]:
    """This process is a worker by itself, whatever it was forked from; what it forks meanwhile is a step's child."""
    global in_child, _workers  # noqa: PLW0603 - one a process
    in_child = False
    _workers += 1
    try:
        yield
    finally:
        _workers -= 1


def is_worker() -> bool:
    """Whether a run is in progress in this process."""
    return _workers > 0


def leave_if_child(exc: BaseException | None = None) -> None:
    """End this process if a step of its parent forked it; `exc` is how the step ended here."""
    if not in_child:
        return
    told = f"papyra-flow: a step called os.fork(): its child, process {os.getpid()}, ends here\n"
    try:
        os.write(2, told.encode())
    finally:
        os._exit(_code(exc))


def _code(exc: BaseException | None) -> int:
    if not isinstance(exc, SystemExit):
        return CODE_WITHOUT_EXIT
    if exc.code is None:
        return 0
    return exc.code & 0xFF if isinstance(exc.code, int) else 1


class _Masks(threading.local):
    """The signals that a thread had blocked before it forked; None where a fork does not concern us."""

    before: set[int] | None = None


_masks = _Masks()


def _before_fork() -> None:
    """Hold back signals until the child has handlers of its own: one that came sooner would be lost to ours."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS) if _workers else None


def _after_fork() -> None:
    if _masks.before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _after_fork_in_child() -> None:
    global in_child, _workers
    in_child, _workers = _workers > 0, 0
    _at_work.clear()
    if in_child:
        _forget_signals()
    _after_fork()


def _forget_signals() -> None:
    """What a signal would set off here is the parent's: its event loop shares the descriptor that wakes it."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGURG, signal.SIG_DFL)
    except ValueError:  # forked in another thread, which is the child's main thread from now on
        return


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
