"""An event loop whose time passes as soon as nothing is left to do: waits of hours take no time, and always the same.

Only for what waits for nothing outside this process.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

from tests.harness import HANGS_SECONDS

LONGEST_SECONDS = 24 * 3600.0
"""A test that has taken so long is waiting for what will not come."""


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; where nothing is, the time has come for what waits."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:  # only a thread can go on
            if not (ready := super().select(HANGS_SECONDS)):
                raise RuntimeError("nothing is left that could go on")
            return ready
        self.now += timeout
        if self.now > LONGEST_SECONDS:
            raise RuntimeError("a day has passed, and the test has not ended")
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop; its time starts at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds that have passed for what runs here."""
        return self._jumping.now


class VirtualTimePolicy(asyncio.DefaultEventLoopPolicy):
    """Has pytest-asyncio run tests on such a loop."""

    def new_event_loop(self) -> VirtualTimeLoop:
        """A loop for one test."""
        return VirtualTimeLoop()


async def until(condition: Callable[[], object], seconds: float = 3600.0) -> None:
    """Let time pass until a condition holds; fails after `seconds` of the loop's time."""
    wait = 0.001
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(wait)
            wait = min(1.1 * wait, 0.25)
