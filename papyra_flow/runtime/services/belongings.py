"""What belongs to the process and not to a step: standard streams, signal handlers, limits, the log.

A step that closes standard output would have the next connection take its place, and a `print` go to the server; one
that takes the handler of SIGTERM keeps the run from stopping. After each batch such things are put back, and told of.
"""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

from papyra_flow.errors import EXIT_FAILED
from papyra_flow.steps.functions.ways_out import end_process

_NAMES = {0: "standard input", 1: "standard output", 2: "standard error"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SPARE_FROM = 64
"""The least number of a spare descriptor, beyond those that a step may close by counting up."""

_LIMITS = {
    resource.RLIMIT_AS: "RLIMIT_AS",
    resource.RLIMIT_DATA: "RLIMIT_DATA",
    resource.RLIMIT_FSIZE: "RLIMIT_FSIZE",
    resource.RLIMIT_NOFILE: "RLIMIT_NOFILE",
    resource.RLIMIT_CPU: "RLIMIT_CPU",
}
"""Limits that a process does not live with: without memory not even a thread starts, and whoever waits for it hangs."""

_WORDS = {
    number: f"papyra-flow: a step lowered {name} for the whole process, which cannot go on\n".encode()
    for number, name in _LIMITS.items()
}

_handler_of = getattr(signal.getsignal, "__wrapped__", signal.getsignal)
"""Without the names that Python gives to numbers, which cost more than all else here."""

_log = logging.getLogger("papyra_flow.run")


class Belongings:
    """The process' own things as they are now; `look` puts them back."""

    def __init__(self) -> None:
        self._spares: dict[int, int] = {}
        self._files: dict[int, tuple[int, int]] = {}
        for number in _NAMES:
            with suppress(OSError):  # a process may be started without
                self._spares[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _SPARE_FROM)
                self._files[number] = _file_of(number)
        self._out, self._err = sys.stdout, sys.stderr
        self._handlers = {number: _handler_of(number) for number in _SIGNALS}
        self._depth = sys.getrecursionlimit()
        self._silenced = logging.root.manager.disable
        self._hook = sys.excepthook
        self._limits = {number: resource.getrlimit(number) for number in _LIMITS}
        self._told: set[str] = set()

    def look(self, stage: str) -> None:
        """Put back what is not as it was, and say that a step of this stage did it; once for each thing."""
        limited = self._limited()  # first: without memory nothing else can be done
        found = [*limited, *self._descriptors(), *self._streams()]
        for number, handler in self._handlers.items():
            if _handler_of(number) != handler and handler is not None:
                with suppress(ValueError):  # not in the main thread: then no step can have done it
                    signal.signal(number, handler)
                    found.append(f"took the handler of {signal.Signals(number).name}")
        if sys.getrecursionlimit() != self._depth:
            sys.setrecursionlimit(self._depth)
            found.append("changed the recursion limit")
        if sys.excepthook is None:  # no thread can be started then
            sys.excepthook = self._hook
            found.append("removed sys.excepthook")
        if logging.root.manager.disable != self._silenced or _log.disabled:
            logging.disable(self._silenced)
            for name, logger in logging.root.manager.loggerDict.items():
                if name.startswith("papyra_flow") and isinstance(logger, logging.Logger):
                    logger.disabled = False
            found.append("switched off the log")
        for what in found:
            if what not in self._told:
                self._told.add(what)
                _log.warning("%s: a step %s; restored", stage, what)

    def close(self) -> None:
        """Give back what is kept for that."""
        for spare in self._spares.values():
            with suppress(OSError):
                os.close(spare)
        self._spares.clear()

    def _limited(self) -> list[str]:
        found = []
        for number, limits in self._limits.items():
            if (now := resource.getrlimit(number)) == limits:
                continue
            soft, hard = limits
            if _is_below(now[0], soft):
                try:
                    resource.setrlimit(number, (soft, hard))
                except (OSError, ValueError):  # the hard limit, too, and only root may raise that
                    _give_up(number)
                found.append(f"lowered {_LIMITS[number]}")
        return found

    def _descriptors(self) -> list[str]:
        found = []
        for number, spare in self._spares.items():
            try:
                same = _file_of(number) == self._files[number]
            except OSError:
                same = False
            if not same:
                with suppress(OSError):
                    os.dup2(spare, number)
                    found.append(f"closed or redirected {_NAMES[number]}")
        return found

    def _streams(self) -> list[str]:
        found = []
        if self._out is not None and (sys.stdout is not self._out or self._out.closed):
            self._out = sys.stdout = _opened(self._out, 1)
            found.append("closed or replaced sys.stdout")
        if self._err is not None and (sys.stderr is not self._err or self._err.closed):
            before, self._err = self._err, _opened(self._err, 2)
            sys.stderr = self._err
            for handler in logging.root.handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                    handler.stream = self._err
            found.append("closed or replaced sys.stderr")
        return found


def _is_below(limit: int, other: int) -> bool:
    return limit != resource.RLIM_INFINITY and (other == resource.RLIM_INFINITY or limit < other)


def _give_up(number: int) -> NoReturn:
    """End the process with a sentence, and with nothing that takes memory: entries in flight stay pending."""
    os.write(2, _WORDS[number])
    end_process(EXIT_FAILED)


def _file_of(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino


def _opened(stream: TextIO, number: int) -> TextIO:
    """The stream, or another one for the same descriptor if it is closed."""
    if not stream.closed:
        return stream
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
