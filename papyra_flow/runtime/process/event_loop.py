"""The event loop that a run lives on, which outlives what steps do to it.

SystemExit and KeyboardInterrupt in a task that a step started, or `loop.stop()`, end any other loop, and with it the
run of all other records: here the task has failed, and who awaits it learns that. A thread that a step left behind does
not keep the loop from closing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from papyra_flow.error_text import error_of
from papyra_flow.errors import PipelineFailedError, UsageError
from papyra_flow.steps.functions.calls import is_ctrl_c

T = TypeVar("T")
_log = logging.getLogger("papyra_flow.run")


class Executor(ThreadPoolExecutor):
    """Threads for `asyncio.to_thread`: when the loop closes it waits for none that a step keeps busy."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work."""
        super().shutdown(wait=False, cancel_futures=True)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop, the fastest that the platform has."""
    loop = _loop_class()()
    loop.set_default_executor(Executor(thread_name_prefix="papyra-flow"))
    return loop


def apart(call: Callable[[], T]) -> T:
    """The call's result, made in a thread of its own where an event loop runs in this one, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result()


def run_async(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end; raises PipelineFailedError if a step cancelled all tasks that it found."""
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)
    except asyncio.CancelledError:  # a Ctrl-C is a KeyboardInterrupt here
        raise PipelineFailedError("a step cancelled the tasks of the run itself") from None


def refuse_inside_a_loop(message: str) -> None:
    """Raise UsageError where an event loop runs in this thread: no second one can."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(message)


def _loop_class() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        base: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    else:
        base = uvloop.Loop

    class Loop(base):  # type: ignore[misc, valid-type]
        """See above."""

        def run_until_complete(self, future: Awaitable[T]) -> T:
            """The future's result."""
            refuse_inside_a_loop("called inside a running event loop: use `await asyncio.to_thread(...)`")
            task = asyncio.ensure_future(future, loop=self)
            while True:
                try:
                    found: T = super().run_until_complete(task)
                except (SystemExit, KeyboardInterrupt) as exc:
                    if task.done() or is_ctrl_c(exc):
                        raise
                    _log.warning("a task that a step started raised %s; the run continues", error_of(exc))
                except RuntimeError:
                    if task.done() or self.is_closed():
                        raise
                    _log.warning("a step stopped the event loop; the run continues")
                else:
                    return found

    return Loop
