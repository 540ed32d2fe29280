"""One consumer of a stage: read a batch, process it, commit it, and see to what follows; over and over.

While one batch is being committed the next is processed; its own commit is sent when that one is done, which keeps
order. Where batches come from is the reader's business (`reader`, `feed`), and what a commit does is the delivery's.
"""

from __future__ import annotations

import asyncio
import logging

from papyra_flow.errors import FencedError, GroupGoneError
from papyra_flow.observe.logs import bind
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.commit.delivery import Delivery, delivery_of
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.commit.sink_owner import SinkOwner
from papyra_flow.runtime.commit.sink_writer import SinkWriter
from papyra_flow.runtime.commit.work import commit, prepare
from papyra_flow.runtime.consumer.commits import CommitInFlight
from papyra_flow.runtime.consumer.group_repair import repair_group
from papyra_flow.runtime.consumer.reader import Reader
from papyra_flow.runtime.consumer.shared import SharedReader
from papyra_flow.runtime.consumer.wakeup import Wakeup
from papyra_flow.runtime.stage.stage import StageRuntime

_log = logging.getLogger("papyra_flow.stage")


class Consumer:
    """One consumer; `run` it, `stop` it."""

    def __init__(self, stage: StageRuntime, name: str) -> None:
        self.stage = stage
        self.name = name
        self._wakeup = Wakeup()
        self._delivery = delivery_of(stage, name)
        self._owner = SinkOwner(stage, stage.spec.sink) if stage.spec.sink is not None else None
        self._commits = CommitInFlight(self._commit_done)
        self._resting = False
        self._told_to_stop = False
        self._task: asyncio.Task[None] | None = None
        self._interruptible = False
        self._reader: Reader = self._new_reader()

    def _new_reader(self) -> Reader:
        return SharedReader(self.stage, self.name, self._wakeup, self._beat)

    def _new_delivery(self, sink: SinkWriter) -> Delivery:
        return Delivery(self.stage, self.name, sink)

    @property
    def at_rest(self) -> bool:
        """Whether it has nothing in flight, and waits for new entries or stands by."""
        waits = self._resting and self._reader.idle and self._commits.idle
        return waits or (self._owner is not None and self._owner.standing_by)

    @property
    def _stopping(self) -> bool:
        return self._told_to_stop or self.stage.context.stopping.is_set()

    # -- the way of a batch -----------------------------------------------------------------------------------

    async def _consume(self) -> None:
        """Read, process, commit, and what follows a commit, until stopped or the hold on the entries is lost."""
        try:
            while not self._stopping:
                # 1. Read: what is next, new entries only where nothing else is due.
                for batch in await self._read():
                    # 2. Process: through the steps, up to a commit that is ready to be sent.
                    prepared = await prepare(self.stage, self._delivery, batch)
                    # 3. Commit: after the one before, which was under way meanwhile; step 4 comes with its reply.
                    await self._commits.finish()
                    await self._send(prepared)
                if self._reader.careful:
                    await self._commits.finish()
                    self._reader.settled()
            await self._commits.finish()
        except Exception:
            await self._commits.give_up(wait=True)
            raise
        finally:
            await self._commits.give_up(wait=False)
            self._reader.settled()

    async def _read(self) -> list[Batch]:
        """The next batches, of the first feed that has any; none when stopping."""
        loop, feeds = asyncio.get_running_loop(), self._reader.feeds
        while not self._stopping:
            now = loop.time()
            for place, feed in enumerate(feeds):
                if feed.due_at(now) > now:
                    continue
                if batches := await feed.take():
                    return batches
                if any(before.due_at(now) <= now for before in feeds[:place]):
                    break  # while this one looked, something came that goes before what is behind it
            else:
                now = loop.time()
                if (due := min(feed.due_at(now) for feed in feeds)) > now:
                    await self._rest(due)
        return []

    async def _send(self, prepared: Prepared) -> None:
        """Commit a batch: while the next one is processed if that is at hand, else at once."""
        if prepared.read is not None or self._reader.read_behind():  # nothing is known to wait for its end
            await self._commit(prepared)
        else:
            await self._commits.send(self._commit(prepared))

    async def _commit(self, prepared: Prepared) -> None:
        again = await commit(self._delivery, prepared)
        self._after_commit(prepared.whole, again)

    def _after_commit(self, batch: Batch, again: list[tuple[Entry, float]]) -> None:
        """4. After the commit: there is room to read again, and what failed is queued for another attempt."""
        self._reader.committed(batch, again)

    def _commit_done(self, committing: asyncio.Task[None]) -> None:
        """Wake the loop if it has to do something about it; usually it has not."""
        if self._resting and self._reader.reading and self._reader.idle and _went_well(committing):
            self.stage.context.activity.set()
        else:
            self._wakeup.ring()

    async def _rest(self, due: float) -> None:
        """Wait for new entries, for the commit that is under way, or until something is due."""
        self._resting = True
        if self.at_rest:
            self.stage.context.activity.set()
        try:
            await self._wakeup.wait(due)
        finally:
            self._resting = False
        await self._commits.check()

    # -- its life ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until stopped; raises what ends the pipeline."""
        self._task = asyncio.current_task()
        bind(stage=self.stage.name, consumer=self.name)
        await self._reader.start()
        try:
            while not self._stopping:
                try:
                    await self._open()
                    await self._consume()
                except FencedError as exc:
                    _log.warning("%s: %s; standing by", self.stage.name, exc)
                    self._reader.forget()
                    if self._owner is not None:
                        await self._owner.close()
                except GroupGoneError:
                    self._reader.forget()
                    await self.stage.retry_policy.keep_trying(lambda: repair_group(self.stage))
        finally:
            self._wakeup.close()
            if self._owner is not None:
                await self._owner.close()

    async def stop(self) -> None:
        """Finish the batch in flight, commit it, and return from `run`."""
        self._told_to_stop = True
        self._wakeup.ring()
        await self._reader.stop()
        if self._interruptible and self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Give back what was read and not processed, and remove the consumer if nothing is left with it."""
        await self._reader.leave()
        if self._owner is not None:
            await self._owner.release()

    async def _open(self) -> None:
        """Open the sink, if there is one, and take up what others left."""
        if self._owner is not None:
            self._interruptible = True
            try:
                sink = await self._owner.open()
            finally:
                self._interruptible = False
            if sink is None:
                return
            self._delivery = self._new_delivery(sink)
        await self._reader.open(alone=self._owner is not None and self._owner.exclusive)

    async def _beat(self) -> None:
        """Say that the sink's owner is alive, between two commits; raises FencedError."""
        if self._owner is not None:
            await self._commits.finish()
            await self._owner.beat()


def _went_well(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None
