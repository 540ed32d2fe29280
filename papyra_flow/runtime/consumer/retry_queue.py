"""Entries that wait for another attempt, by the time when it is due."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from papyra_flow.records.entries import Entry


class RetryQueue:
    """A consumer's retries; times are those of its event loop, in seconds."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Entry]] = []
        self._sequence = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entries: Iterable[tuple[Entry, float]], now: float) -> None:
        """Entries that are due after a wait each."""
        for entry, wait in entries:
            heapq.heappush(self._waiting, (now + wait, next(self._sequence), entry))

    def due_at(self, never: float) -> float:
        """When the first one is due, or `never`."""
        return self._waiting[0][0] if self._waiting else never

    def take_due(self, now: float, limit: int) -> list[Entry]:
        """Those that are due, at most `limit`, the longest due first."""
        due: list[Entry] = []
        while self._waiting and self._waiting[0][0] <= now and len(due) < limit:
            due.append(heapq.heappop(self._waiting)[2])
        return due

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
