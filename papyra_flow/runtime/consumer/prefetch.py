"""The feed of new entries: read ahead as far as `max_pending` allows, and held until committed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping

from papyra_flow.errors import ConnectionLostError
from papyra_flow.records.batch import Batch, joined
from papyra_flow.runtime.consumer.wakeup import Wakeup
from papyra_flow.runtime.services.keepalive import Held
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.connection.client import Reply
from papyra_flow.streams.groups.reading import BlockingReader

BLOCK_SECONDS = 5.0
CLOSE_SECONDS = 1.0
PAUSED_SECONDS = 1.0
"""Between two looks whether a pause is over."""


class Prefetch:
    """One consumer's reads; `wakeup` is rung when one is there, `lost` is awaited when a reply was lost."""

    def __init__(
        self,
        stage: StageRuntime,
        held: Mapping[str, Held],
        wakeup: Wakeup,
        lost: Callable[[], Awaitable[None]],
        reader: BlockingReader,
    ) -> None:
        """`held` is what is in flight, stream by stream; all of it counts as pending."""
        self._stage = stage
        self._wakeup = wakeup
        self._lost = lost
        self._held = held
        self._reader = reader
        self.limit: int | None = None
        """Entries that may be read at once, where they are fewer than a batch has."""
        self._reading = False
        self._task: asyncio.Task[list[Batch]] | None = None
        self._arrived: list[Batch] | BaseException | None = None
        self._asked = 0
        self._reserved = 0
        self._stopped = False

    @property
    def room(self) -> int:
        """How many entries of each stream may be read now, by `max_pending`; partitions share what is left of it."""
        spec = self._stage.spec
        left = spec.settings.max_pending - sum(map(len, self._held.values()))
        together = 1 if spec.owned else len(spec.partitions)
        return min(self.limit or spec.settings.batch_size, max(1, left // together)) if left > 0 else 0

    @property
    def reading(self) -> bool:
        """Whether there is a read under way, or one that has not been taken."""
        return self._reading

    # -- as a feed --------------------------------------------------------------------------------------------

    def due_at(self, now: float) -> float:
        """At once where entries have come, or a read can begin."""
        if self._arrived is not None:
            return now
        if self._reading or self._stopped:
            return math.inf
        if self._paused:
            return now + PAUSED_SECONDS
        return now if self.room else math.inf

    async def take(self) -> list[Batch]:
        """The new entries that are there; where none are, a read is begun. Raises what the read met."""
        arrived, self._arrived = self._arrived, None
        if arrived is None:
            self.read_ahead()
            return []
        self._reading = False
        if isinstance(arrived, BaseException):
            raise arrived
        # Fewer than asked for: nothing waits there, and these should not wait for the next read to go out.
        if sum(map(len, arrived)) >= self._asked:
            self.read_ahead()
        return arrived

    def forget(self) -> None:
        """What was in flight is not this consumer's any more."""
        if self._arrived is not None:
            self._reading, self._arrived = False, None
        for stream in self._stage.outputs:
            self._stage.context.gates.spend(stream, 0, self._reserved)
        self._reserved = 0
        for held in self._held.values():
            held.remove(held.ids())

    async def close(self) -> None:
        """Wait briefly for the read to end, and close the connection."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_SECONDS
        while self._reading and self._arrived is None and loop.time() < deadline:
            await self._wakeup.wait(deadline)
        if self._task is not None:
            self._task.cancel()
        await self._reader.close()

    # -- what the reader asks of it ---------------------------------------------------------------------------

    @property
    def _paused(self) -> bool:
        return self._stage.context.pauses.holds(self._stage.name)

    def read_ahead(self) -> None:
        """Begin a read, unless there is one, or no room for it.

        Usually there is a connection, and room in the next streams: then it goes out without a task of its own.
        """
        stage = self._stage
        if self._reading or self._stopped or self._paused or not self.room:
            return
        self._asked, self._reading = self.room, True
        straight = not stage.spec.settings.batch_wait and stage.context.gates.open(stage.outputs)
        if not (straight and self._reader.begin(self, self._asked, block=BLOCK_SECONDS)):
            self._read_patiently(lost=False)

    def committed(self, batch: Batch, waiting: Iterable[bytes]) -> None:
        """A batch is out of hand, except for entries that wait for another attempt."""
        held, kept = self._held[batch.key], set(waiting)
        held.remove([id_ for id_ in batch.ids if id_ not in kept] if kept else batch.ids)
        self._reserved -= len(batch) if batch.fresh else 0

    async def identify(self) -> None:
        """Learn what is needed to end a read that blocks."""
        await self._reader.identify()

    async def stop(self) -> None:
        """End the read that is under way; nothing is delivered after that."""
        self._stopped = True
        await self._reader.stop()

    # -- one read ---------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """As the receiver of a read's reply: it is always wanted."""
        return False

    def set_result(self, reply: Reply, /) -> None:
        """The reply of a read that went out straight."""
        self._accept(self._reader.arrived(reply))

    def set_exception(self, exc: BaseException, /) -> None:
        """Such a read failed: read again under the retry policy, which finds out what it means."""
        if self._stopped:
            self._accept([])
        else:
            self._read_patiently(lost=isinstance(exc, ConnectionLostError))

    def _accept(self, arrived: list[Batch] | BaseException) -> None:
        stage = self._stage
        for batch in arrived if isinstance(arrived, list) else ():
            self._held[batch.key].add(batch.ids)
            self._reserved += len(batch)
            stage.context.gates.reserve(stage.outputs, len(batch))
            # What the stage's own source put into its implicit stream was counted when it was read; the rows of
            # tables are counted when they are seen, and what an owner reads when it is committed.
            if batch.key not in stage.implicit and not stage.spec.reads_tables and not stage.spec.owned:
                stage.counters.read += len(batch)
        self._arrived = arrived
        self._wakeup.ring()

    def _read_patiently(self, *, lost: bool) -> None:
        """Read in a task that waits: for room, for the server to come back, for a batch to fill."""

        def done(task: asyncio.Task[list[Batch]]) -> None:
            if not task.cancelled():
                self._accept(task.exception() or task.result())

        self._task = asyncio.create_task(self._wait_and_read(lost=lost))
        self._task.add_done_callback(done)

    async def _wait_and_read(self, *, lost: bool) -> list[Batch]:
        if lost:
            await self._lost()
        await self._stage.context.gates.room(self._stage.outputs)
        self._asked = self.room or 1
        batches = await self._once(self._asked, BLOCK_SECONDS)
        return await self._fill(batches) if batches and self._stage.spec.settings.batch_wait else batches

    async def _fill(self, batches: list[Batch]) -> list[Batch]:
        """Wait for more, as long as `batch.wait` says."""
        settings, loop = self._stage.spec.settings, asyncio.get_running_loop()
        deadline = loop.time() + settings.batch_wait
        while (
            (missing := settings.batch_size - sum(map(len, batches))) > 0
            and (left := deadline - loop.time()) > 0
            and not self._stopped
        ):
            batches = batches + await self._once(missing, left)
        return joined(batches)

    async def _once(self, size: int, block: float) -> list[Batch]:
        return await self._stage.retry_policy.keep_trying(lambda: self._reader.read(size, block=block), lost=self._lost)
