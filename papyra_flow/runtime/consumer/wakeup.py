"""What one coroutine waits for until it is woken, or a time has come.

It costs a future a wait; the timer is set again only when it goes off too late, because most waits end long before.
"""

from __future__ import annotations

import asyncio


class Wakeup:
    """Rung from the event loop's thread; being woken without a reason is possible, and harmless."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rung = False

    def ring(self) -> None:
        """Wake the waiter, or the next one to wait."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, until: float) -> None:
        """Return when it was rung since the last wait, or at `until` on the loop's clock, or a little early."""
        if not self._rung and self._loop.time() < until:
            if self._timer is None or self._timer.when() > until:
                self._set_timer(until)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._rung = False

    def close(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, moment: float) -> None:
        self.close()
        self._timer = self._loop.call_at(moment, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self.ring()
