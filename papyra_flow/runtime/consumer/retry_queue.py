"""The feed of entries that wait for another attempt, by the time when it is due."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, groupby

from papyra_flow.errors import ServerError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.consumer.quarantine import apart
from papyra_flow.runtime.services.keepalive import Held
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.claims import Claimer


class RetryQueue:
    """A consumer's retries; their entries stay pending for it, and held by it."""

    def __init__(self, stage: StageRuntime, claimers: Mapping[str, Claimer], held: Mapping[str, Held]) -> None:
        self._stage = stage
        self._claimers = claimers
        self._held = held
        self._waiting: list[tuple[float, int, Entry]] = []
        self._sequence = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entries: Iterable[tuple[Entry, float]]) -> None:
        """Entries that are due after a wait each, in seconds."""
        for entry, wait in entries:
            due = asyncio.get_running_loop().time() + wait
            heapq.heappush(self._waiting, (due, next(self._sequence), entry))

    def due_at(self, now: float) -> float:
        """When the first one is due."""
        return self._waiting[0][0] if self._waiting else math.inf

    async def take(self) -> list[Batch]:
        """Those that are due, delivered once more, which counts the attempt on the server."""
        entries = await self._stage.retry_policy.keep_trying(self._take_due)
        return apart(entries, self._stage.spec.settings.attempts)

    def forget(self) -> None:
        """Forget all of them."""
        self._waiting.clear()

    async def close(self) -> None:
        """There is nothing to close."""

    async def _take_due(self) -> list[Entry]:
        due = self._pop_due()
        try:
            return await self._take_again(due)
        except ServerError:
            self.add((entry, 0.0) for entry in due)
            raise

    def _pop_due(self) -> list[Entry]:
        """Those that are due, at most a batch of them, the longest due first."""
        now, limit = asyncio.get_running_loop().time(), self._stage.spec.settings.batch_size
        due: list[Entry] = []
        while self._waiting and self._waiting[0][0] <= now and len(due) < limit:
            due.append(heapq.heappop(self._waiting)[2])
        return due

    async def _take_again(self, due: Sequence[Entry]) -> list[Entry]:
        taken: list[Entry] = []
        for key, group in groupby(sorted(due, key=lambda entry: entry.key), key=lambda entry: entry.key):
            ids = [entry.id for entry in group]
            entries = await self._claimers[key].take(ids)
            self._held[key].remove(set(ids) - {entry.id for entry in entries})
            taken += entries
        return taken
