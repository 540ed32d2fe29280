"""A partition's state between its owner and the server: what a batch misses is loaded in one command.

What changes goes into the owner's commit; until that is done, nobody else's word counts for what it changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.errors import CommandRefusedError
from papyra_flow.runtime.services.idleness import Idleness
from papyra_flow.state.event_time import END_OF_TIME
from papyra_flow.state.progress import BEGINNING, Progress
from papyra_flow.state.store import Changes, Store, Timer
from papyra_flow.streams.commit.ownership import Ownership
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.retry_policy import RetryPolicy

MOST_TIMERS = 250
"""Timers that go off in one commit: about a millisecond of the server's time."""


class PartitionState:
    """The state that one owner has of its partition; `store` is what its step works on."""

    def __init__(
        self,
        client: Client,
        ownership: Ownership,
        store: Store,
        progress: Progress,
        retry_policy: RetryPolicy,
        idleness: Idleness | None = None,
    ) -> None:
        """`idleness` is for a stage that goes by event time."""
        self.idleness = idleness
        self.store = store
        self.progress = progress
        self._client = client
        self._keys = ownership.keys
        self._retry_policy = retry_policy
        self._first_timer: int | None = None
        self._known = False
        self._ended = False
        self.late = 0
        """Records of the batch whose window had closed."""

    async def load(self, fields: Sequence[bytes]) -> None:
        """Load these fields; raises ServerErrors, and UndecodableError for what is no state."""
        reply = await self._call("HMGET", self._keys.state, *fields)
        if not isinstance(reply, list):
            raise CommandRefusedError(f"HMGET answered {reply!r}")
        self.store.load(fields, reply)

    @property
    def waits(self) -> bool:
        """Whether a timer is known that is not due yet."""
        return self._first_timer is not None

    @property
    def fires(self) -> bool:
        """Whether a timer may be due; there may be none after all."""
        if not self._known:
            return True
        first = self._first_timer
        return first is not None and (self._ended or first <= self.progress.watermark)

    def end(self) -> None:
        """All of the input has arrived: every timer that is there goes off."""
        self._ended, self._known = True, False

    async def due(self, most: int | None = None) -> list[Timer]:
        """Timers that are due, in order, a portion of them, `most` at most; no commit may be under way."""
        limit = "+inf" if self._ended else self.progress.watermark
        reply = await self._call(
            "ZRANGE", self._keys.timers, "-inf", limit, "BYSCORE", "LIMIT", 0, min(MOST_TIMERS, most or MOST_TIMERS),
            "WITHSCORES",
        )  # fmt: skip
        found = _timers(reply)
        if not found:
            first = _timers(await self._call("ZRANGE", self._keys.timers, 0, 0, "WITHSCORES"))
            self._first_timer, self._known, self._ended = (first[0].at if first else None), True, False
        elif self._ended:  # what comes later for a window that closes now is late
            self.progress.reach(max((timer.at for timer in found if timer.at < END_OF_TIME), default=BEGINNING))
        return found

    def count_late(self, records: int) -> None:
        """So many records of the batch were late."""
        self.late = records

    def changes(self) -> Changes:
        """End the batch: what it changed, for its commit."""
        if (first := self.store.first_timer) is not None:
            self._first_timer = first if self._first_timer is None else min(first, self._first_timer)
        return self.store.changes()

    async def _call(self, *command: str | bytes | int) -> object:
        return await self._retry_policy.keep_trying(lambda: self._client.call(*command))


def _timers(reply: object) -> list[Timer]:
    if not isinstance(reply, list):
        raise CommandRefusedError(f"ZRANGE answered {reply!r}")
    return [Timer(int(float(at)), member) for member, at in zip(reply[::2], reply[1::2], strict=True)]
