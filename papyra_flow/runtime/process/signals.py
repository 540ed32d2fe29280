"""SIGINT and SIGTERM: the first stops a run in an orderly way, the second ends it at once (exit code 130 or 143).

The handlers are Python's own and not the event loop's, because a step that blocks the loop must not keep a second
Ctrl-C from working: what still runs shortly after a second one is killed, by the kernel if need be (`last_resort`).
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Self

from papyra_flow.runtime.process.last_resort import catch_once, end_after
from papyra_flow.steps.functions.ways_out import end_process

GRACE_SECONDS = 1.0
SLACK_SECONDS = 0.5
"""After the grace, until the kernel ends what could not end itself."""

POKE_SECONDS = 0.2
NUMBERS = (signal.SIGINT, signal.SIGTERM)
_log = logging.getLogger("papyra_flow.run")


class EndedAtOnceError(BaseException):
    """A second signal came: end now, with this exit code."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class Signals:
    """Handles signals during a run; a context manager. In another thread than the main one it does nothing.

    `stop` is called on the event loop at the first signal, `end` at the second.
    """

    def __init__(self, stop: Callable[[], object], end: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._end = end
        self._count = 0
        self._before: dict[int, object] = {}
        self._handler = self._handle
        """One object, always the same: checks that it is still in place compare objects."""
        self._first, self._over = threading.Event(), threading.Event()
        self._main = threading.get_ident()
        self._helper = threading.Thread(target=self._help, name="papyra-flow-signals", daemon=True)
        self.ended_by: int | None = None
        """The second signal's number, once it has come."""

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are the main thread's, and so is what follows from them
        self._helper.start()
        self._before = {number: signal.signal(number, self._handler) for number in NUMBERS}
        for number in NUMBERS:
            catch_once(number)
        self._before[signal.SIGURG] = signal.signal(signal.SIGURG, lambda *_: None)
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._first.set()
        if self._before:
            self._helper.join()
        for number, handler in self._before.items():
            if number != self.ended_by:  # that one is to end us, in whatever state we are
                signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            signal.signal(number, self._handler)
            catch_once(number)
        elif self._count == 2:
            end_after(GRACE_SECONDS + SLACK_SECONDS, number)
        with suppress(RuntimeError):  # the loop is closed: it has ended already
            if self._count == 1:
                self._first.set()
                self._loop.call_soon_threadsafe(self._stop)
            elif self._count == 2:
                self.ended_by = number
                self._loop.call_soon_threadsafe(self._end)
                watchdog = threading.Timer(GRACE_SECONDS, self._without_ceremony, (128 + number,))
                watchdog.daemon = True
                watchdog.start()

    def _help(self) -> None:
        """What the handler must not do: it may have interrupted the log, or the start of a thread.

        And wake the main thread now and then, so that it notices a second signal: one that arrives while the handler
        of the one before returns into a lock is not noticed until the next.
        """
        self._first.wait()
        if self._count:
            _log.warning("stopping: finishing in-flight batches; press Ctrl-C again to exit immediately")
        while not self._over.wait(POKE_SECONDS):
            signal.pthread_kill(self._main, signal.SIGURG)

    def _without_ceremony(self, code: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\033[?25h")  # the cursor, which the progress table hides
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        for child in multiprocessing.active_children():
            child.kill()
        end_process(code)
