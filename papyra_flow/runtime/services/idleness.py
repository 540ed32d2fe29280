"""When an input is empty for long: event time goes on without it, so that the last window closes without a next record.

One that is empty because something is held before it is not idle: what is pending there may be older. If all inputs are
idle, the watermark goes on by the time that passes; not to the wall clock, since data of 2013 stay in 2013.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable

from papyra_flow.state.progress import BEGINNING, Progress

EVERY_SECONDS = 1.0
"""Between two looks once an input is idle."""


class Idleness:
    """The inputs of a partition, by the names of their streams; times are seconds on the event loop's clock."""

    def __init__(
        self, progress: Progress, streams: Iterable[str], after: float, held: Callable[[], Awaitable[bool]], now: float
    ) -> None:
        """An input is idle `after` seconds; `held` says whether anything is held before one of them."""
        self._progress = progress
        self._after = after
        self._held = held
        self._last = dict.fromkeys(streams, now)
        self._next = now + after

    def arrived(self, stream: str, now: float) -> None:
        """An input has brought something."""
        self._last[stream] = now
        self._progress.idle.discard(stream)
        self._next = max(self._next, min(self._last.values()) + self._after)

    @property
    def due_at(self) -> float:
        """When to look again."""
        return self._next if self._last else math.inf

    def gets_to(self, watermark: int) -> float:
        """When a look lets event time go on, maybe as far as a watermark, if nothing arrives and nothing is held."""
        moments = [last + self._after for stream, last in self._last.items() if stream not in self._progress.idle]
        if self._newest != BEGINNING:
            newest = max(self._last.values())
            moments.append(newest + max(self._after, (watermark - self._newest) / 1000))
        return max(self._next, min(moments, default=math.inf))

    @property
    def _newest(self) -> int:
        return max(self._progress.of(stream) for stream in self._last)

    async def look(self, now: float) -> None:
        """Let event time go on where inputs are idle; nothing of them may be unprocessed. Raises ServerErrors."""
        idle = {stream for stream, last in self._last.items() if now - last >= self._after}
        self._next = min(self._last.values()) + self._after
        if not idle:
            return
        self._next = now + EVERY_SECONDS
        if await self._held():
            return
        self._progress.idle.update(idle)
        newest = self._newest
        if len(idle) == len(self._last) and newest != BEGINNING:
            self._progress.reach(newest + round((now - max(self._last.values())) * 1000))
