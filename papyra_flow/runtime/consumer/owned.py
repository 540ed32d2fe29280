"""The reader of a partition that has an owner: the group's position is the cursor, and nothing is pending.

What it gives out comes one batch at a time, because everything is in order: what waits for another attempt holds all
that is behind it, and what a former shared stage left pending goes before what is new.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.consumer.care import Care, Trying
from papyra_flow.runtime.consumer.feed import Feed
from papyra_flow.runtime.consumer.prefetch import Prefetch
from papyra_flow.runtime.consumer.wakeup import Wakeup
from papyra_flow.runtime.services.keepalive import Held
from papyra_flow.runtime.services.partition_state import PartitionState
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.runtime.stage.timer_batch import TimerBatch, rest_of
from papyra_flow.streams.commit.ownership import Ownership
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.reading import CursorReader

AGAIN = 2
"""The delivery of what a former shared stage has left pending: one at least has been before."""


class OwnedReader:
    """One owner's; see `Reader`. It is its own and only feed."""

    def __init__(
        self,
        stage: StageRuntime,
        ownership: Ownership,
        state: PartitionState | None,
        wakeup: Wakeup,
        settle: Callable[[], Awaitable[None]],
        trying: Trying,
    ) -> None:
        """`settle` is awaited before timers go off: they are read from the server, behind all that was committed."""
        spec, context = stage.spec, stage.context
        self._stage = stage
        self._ownership = ownership
        self._state = state
        self._settle = settle
        # Read by position: nothing of it is pending, so that nothing is refreshed.
        held = {key: Held(key, spec.group, "owner", math.inf) for key in ownership.positions}
        reader = CursorReader(context.server.new_wire(), context.server.client, ownership.positions)
        self._new = Prefetch(stage, held, wakeup, _nothing, reader)
        self._care = Care(ownership, spec.settings.batch_size, trying, stage.retry_policy)
        self._new.limit = self._care.limit
        self._rest: Batch | None = None
        self._rest_due = 0.0
        self._idleness = state.idleness if state is not None else None
        self._names = {key: stage.stream_of[key] for key in ownership.positions if key not in stage.replay_keys}
        self._ready: deque[Batch] = deque()
        self._left: deque[str] = deque()
        """Streams of which a former shared stage has left entries pending."""
        self.feeds: Sequence[Feed] = (self,)

    # -- as a reader ------------------------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """As `Reader.reading`."""
        return self._new.reading

    @property
    def idle(self) -> bool:
        """As `Reader.idle`."""
        return self._rest is None and not self._ready and not self._left and not self._fires

    @property
    def careful(self) -> bool:
        """As `Reader.careful`: whether an owner before died, maybe of what comes next."""
        return self._care.needed

    async def start(self) -> None:
        """As `Reader.start`."""
        await self._stage.retry_policy.keep_trying(self._new.identify)

    async def open(self, *, alone: bool) -> None:
        """As `Reader.open`: what was pending when the stage was a shared one comes first."""
        self._left.extend(key for key, pending in self._ownership.pending.items() if pending)

    def read_behind(self) -> bool:
        """As `Reader.read_behind`."""
        if self._new.reading or not self._new.room or self._rest is not None or self._ready:
            return False
        asyncio.get_running_loop().call_soon(self._new.read_ahead)
        return True

    def committed(self, batch: Batch, again: Sequence[tuple[Entry, float]]) -> None:
        """As `Reader.committed`: what is to be tried again holds what is behind it."""
        self._care.passed(len(batch) - len(again))
        self._new.limit = self._care.limit
        if again:
            self._rest = rest_of(batch, [entry for entry, _ in again])
            self._rest_due = asyncio.get_running_loop().time() + again[0][1]
        if not isinstance(batch, TimerBatch):
            self._new.committed(batch, [entry.id for entry, _ in again])

    def settled(self) -> None:
        """As `Reader.settled`."""

    def forget(self) -> None:
        """As `Reader.forget`."""
        self._rest = None
        self._ready.clear()
        self._new.forget()

    async def stop(self) -> None:
        """As `Reader.stop`."""
        await self._new.stop()

    async def leave(self) -> None:
        """As `Reader.leave`: there is nothing to give back."""
        await self._new.close()

    # -- as a feed --------------------------------------------------------------------------------------------

    def due_at(self, now: float) -> float:
        """As `Feed.due_at`."""
        if self._rest is not None:
            return self._rest_due
        if self._ready or self._left or self._fires:
            return now
        return min(self._new.due_at(now), self._state.idle_at if self._state is not None else math.inf)

    async def take(self) -> list[Batch]:
        """As `Feed.take`: one batch at most; an empty one where timers are due."""
        if (rest := self._rest) is not None:
            self._rest = None
            return [rest]
        if self._state is not None and self._fires:
            await self._settle()
            if self._fires and (timers := await self._state.due(self._care.limit)):
                tries = await self._care.tries("timers", timers[0].member)
                return [TimerBatch(next(iter(self._ownership.positions)), timers, tries)]
        if self._left and not self._ready:
            await self._settle()
            await self._stage.retry_policy.keep_trying(self._take_up)
        if not self._ready and not self._left:
            await self._look_for_new()
        if not self._ready:
            return []
        batch = self._ready.popleft()
        if self._idleness is not None and (stream := self._names.get(batch.key)) is not None:
            self._idleness.arrived(stream, asyncio.get_running_loop().time())
        if (tries := await self._care.tries(batch.key, batch.ids[0])) > 1:
            batch = Batch(batch.key, batch.ids, batch.fields, [tries] * len(batch))
        return [batch]

    async def _look_for_new(self) -> None:
        """Take what has arrived, or begin to read; where nothing does for long, see whether inputs are idle."""
        now = asyncio.get_running_loop().time()
        if self._new.due_at(now) <= now:
            self._ready.extend(await self._new.take())
        elif self._idleness is not None and self._idleness.due_at <= now:
            await self._settle()
            await self._stage.retry_policy.keep_trying(lambda: self._idleness.look(now))  # type: ignore[union-attr]

    @property
    def _fires(self) -> bool:
        return self._state is not None and self._state.fires

    async def close(self) -> None:
        """Closed by `leave`."""

    async def _take_up(self) -> None:
        """Take over the next of what is pending in a stream; its commit acknowledges it, and passes nothing."""
        spec, key = self._stage.spec, self._left[0]
        claimer = Claimer(self._stage.context.server.client, key=key, group=spec.group, consumer="owner")
        pending = await claimer.pending(self._new.limit or spec.settings.batch_size, consumer="")
        if not pending:
            self._left.popleft()
        elif entries := await claimer.take([entry.id for entry in pending]):
            self._stage.counters.claimed += len(entries)
            # How often each was delivered says nothing here: it was together with others.
            columns = [entry.id for entry in entries], [entry.fields for entry in entries]
            self._ready.append(Batch(key, *columns, [AGAIN] * len(entries)))


async def _nothing() -> None:
    """A read whose reply was lost is asked for again."""
