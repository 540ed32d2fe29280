"""A partition's state between its owner and where it is kept: what a batch misses is loaded in one command.

What changes goes into the owner's commit; until that is done, nobody else's word counts for what it changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from papyra_flow.runtime.services.idleness import Idleness
from papyra_flow.runtime.services.state_keeper import StateKeeper
from papyra_flow.state.event_time import END_OF_TIME
from papyra_flow.state.progress import BEGINNING, Progress
from papyra_flow.state.store import Store, Timer
from papyra_flow.streams.commit.operations import StateChanges

MOST_TIMERS = 250
"""Timers that go off in one commit: about a millisecond of the server's time."""


class PartitionState:
    """The state that one owner has of its partition; `store` is what its step works on."""

    def __init__(self, keeper: StateKeeper, store: Store, progress: Progress, idleness: Idleness | None = None) -> None:
        """`idleness` is for a stage that goes by event time."""
        self.idleness = idleness
        self.store = store
        self.progress = progress
        self._keeper = keeper
        self._first_timer: int | None = None
        self._known = False
        self._ended = False
        self.late = 0
        """Records of the batch whose window had closed."""

    async def load(self, fields: Sequence[bytes]) -> None:
        """Load these fields; raises ServerErrors, and UndecodableError for what is no state."""
        self.store.load(fields, await self._keeper.values(fields))

    @property
    def idle_at(self) -> float:
        """When to see whether inputs are idle, by the event loop's clock: never, where no timer waits for that."""
        waits = self.idleness is not None and self._first_timer is not None
        return self.idleness.due_at if waits and self.idleness is not None else math.inf

    @property
    def goes_on_at(self) -> float:
        """When a timer may become due because inputs are idle, by the same clock."""
        if self.idleness is None or self._first_timer is None:
            return math.inf
        return self.idleness.gets_to(self._first_timer)

    @property
    def fires(self) -> bool:
        """Whether a timer may be due; there may be none after all."""
        if not self._known:
            return True
        first = self._first_timer
        return first is not None and (self._ended or first <= self.progress.watermark)

    @property
    def watermark(self) -> int:
        """As timers have it: the end of time while all that is open closes, so that none of them is set again."""
        return END_OF_TIME if self._ended else self.progress.watermark

    def end(self) -> None:
        """All of the input has arrived: every timer that is there goes off."""
        self._ended, self._known = True, False

    async def due(self, most: int | None = None) -> list[Timer]:
        """Timers that are due, in order, a portion of them, `most` at most; no commit may be under way."""
        until = None if self._ended else self.progress.watermark
        found = await self._keeper.timers(until, min(MOST_TIMERS, most or MOST_TIMERS))
        if not found:
            first = await self._keeper.timers(None, 1)
            self._first_timer, self._known, self._ended = (first[0].at if first else None), True, False
        elif self._ended:  # what comes later for a window that closes now is late
            self.progress.reach(max((timer.at for timer in found if timer.at < END_OF_TIME), default=BEGINNING))
        return found

    def count_late(self, records: int) -> None:
        """So many records of the batch were late."""
        self.late = records

    def changes(self) -> StateChanges:
        """End the batch: what it changed, for its commit."""
        if (first := self.store.first_timer) is not None:
            self._first_timer = first if self._first_timer is None else min(first, self._first_timer)
        return self.store.changes()
