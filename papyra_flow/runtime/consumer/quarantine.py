"""Quarantine: entries claimed from a consumer that is gone, retried with care, because one may have killed it.

The more often an entry was delivered, the smaller its batch, down to itself alone; one that still ends
nowhere after `MAX_DELIVERIES` is dead (invariant I5). The delivery count rises only for entries that are
really processed, one batch of them at a time in a process, so what lay beside a killer is not blamed for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby

from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry, parse_id
from papyra_flow.runtime.stage.failure import is_killer

ALONE_FROM = 3


class Quarantine:
    """Claimed entries that wait for their turn, with the deliveries they had before.

    They come out in the stream's order, although they may be taken over from several consumers: one that was killed
    while it took over another's has the first of them, and the other still has the rest.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._known: set[bytes] = set()
        self._in_order = True

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entries: Iterable[tuple[bytes, int]]) -> int:
        """Add ids with their delivery counts; returns how many were new."""
        fresh = [entry for entry in entries if entry[0] not in self._known]
        self._waiting.extend(fresh)
        self._in_order = self._in_order and not fresh
        self._known.update(id_ for id_, _ in fresh)
        return len(fresh)

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
        self._known.clear()

    def next_batch(self) -> list[tuple[bytes, int]]:
        """The entries to deliver together; a caller that fails to adds them again."""
        if not self._in_order:
            self._waiting = deque(sorted(self._waiting, key=lambda entry: parse_id(entry[0])))
            self._in_order = True
        batch: list[tuple[bytes, int]] = []
        limit = self._batch_size
        while self._waiting and len(batch) < limit:
            id_, deliveries = self._waiting[0]
            limit = min(limit, self._together(deliveries))
            if len(batch) >= limit:
                break
            self._waiting.popleft()
            self._known.discard(id_)
            batch.append((id_, deliveries))
        return batch

    def _together(self, deliveries: int) -> int:
        if deliveries >= ALONE_FROM:
            return 1
        return max(1, self._batch_size // (4 if deliveries <= 1 else 32))


class QuarantineTurn:
    """One consumer's turn at quarantined entries: of all consumers of a process, whatever their stage, one has it.

    It is held from before a quarantined batch is delivered once more, which is counted, until it is committed.
    Were two batches in flight at once, the death of the process would be counted against both, again and again.
    """

    def __init__(self, shared: asyncio.Lock, longest: float) -> None:
        self._shared = shared
        self._longest = longest
        self._ours = False

    async def begin(self, stopping: asyncio.Event) -> None:
        """Wait for the turn, or until all is to stop.

        For `longest` seconds at most: a step of hours elsewhere does not hold up all others.
        """
        turn, end = asyncio.create_task(self._shared.acquire()), asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({turn, end}, timeout=self._longest, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (turn, end):
                task.cancel()
            with suppress(asyncio.CancelledError):
                self._ours = await turn  # it may just have come

    def end(self) -> None:
        """Let the next one have it; nothing happens if it is not ours."""
        if self._ours:
            self._ours = False
            self._shared.release()

    @property
    def ours(self) -> bool:
        """Whether a quarantined batch is in flight."""
        return self._ours


def apart(entries: Sequence[Entry], attempts: int) -> list[Batch]:
    """Entries as batches: each of one stream, and what ends its worker apart from all else."""

    def kind(entry: Entry) -> tuple[str, bool]:
        return entry.key, is_killer(entry, attempts)

    return [Batch.of(list(group)) for _, group in groupby(sorted(entries, key=kind), key=kind)]
