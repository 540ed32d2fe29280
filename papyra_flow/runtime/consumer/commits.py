"""The one commit that may be under way while the next batch is processed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class CommitInFlight:
    """At most one commit at a time, which keeps the order; `done` is called with each that ended."""

    def __init__(self, done: Callable[[asyncio.Task[None]], None]) -> None:
        self._done = done
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._task is None or self._task.done()

    async def send(self, commit: Coroutine[object, object, None]) -> None:
        """Begin a commit: it goes out before this returns, and ends whenever it does. The one before has ended."""
        self._task = asyncio.create_task(commit)
        self._task.add_done_callback(self._done)
        await asyncio.sleep(0)

    async def finish(self) -> None:
        """Wait until it has ended; raises what went wrong with it."""
        if self._task is not None:
            task, self._task = self._task, None
            await task

    async def check(self) -> None:
        """Raise what went wrong with it, if it has ended."""
        if self._task is not None and self._task.done():
            await self.finish()

    async def give_up(self, *, wait: bool) -> None:
        """End it, after it has come to its own end if that is to be waited for: what was sent is counted then."""
        if self._task is None:
            return
        try:
            if wait:
                await asyncio.wait([self._task])
        finally:
            self._task.cancel()
            self._task = None
