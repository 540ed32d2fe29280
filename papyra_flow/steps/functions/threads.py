"""Calling a function that blocks in a thread of its own, which may be given up.

Not a pool: a call that never returns would keep one of a pool's few places for ever, and the process from ending.
Threads here are daemons, so neither happens; what a thread that was given up still does is ignored.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from papyra_flow.steps.functions.calls import contained

T = TypeVar("T")


async def in_thread(function: Callable[..., T], argument: object) -> T:
    """The function's result, or its exception; a caller cancelled while waiting abandons the thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def told(result: T | None, exc: Exception | None) -> None:
        if future.done():
            return
        if exc is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(exc)

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = contained(function, argument)
        except Exception as exc:  # noqa: BLE001 - it is passed to the waiter
            failure = exc
        with suppress(RuntimeError):  # the loop is closed: no waiter is left
            loop.call_soon_threadsafe(told, result, failure)

    threading.Thread(target=run, name="papyra-flow-step", daemon=True).start()
    return await future
