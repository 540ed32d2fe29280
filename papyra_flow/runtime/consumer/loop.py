"""One consumer of a stage: read a batch, prefetch the next, process, commit; over and over.

Three things feed it: new entries, retries that are due, and entries taken over from consumers that are gone. While
one batch is being committed the next is processed; its own commit is sent when that one is done, which keeps order.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from itertools import groupby

from papyra_flow.errors import FencedError, GroupGoneError, ServerError
from papyra_flow.observe.logs import bind
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.commit.delivery import delivery_of
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.commit.sink_owner import SinkOwner
from papyra_flow.runtime.commit.work import commit, prepare
from papyra_flow.runtime.consumer.claims import Claims
from papyra_flow.runtime.consumer.group_repair import repair_group
from papyra_flow.runtime.consumer.prefetch import BLOCK_SECONDS, Prefetch
from papyra_flow.runtime.consumer.quarantine import Turn, apart
from papyra_flow.runtime.consumer.retry_queue import RetryQueue
from papyra_flow.runtime.consumer.wakeup import Wakeup
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.lifecycle import delete_consumer

PAUSED_SECONDS = 1.0
"""Between two looks whether a pause is over."""

_log = logging.getLogger("papyra_flow.stage")


class Consumer:
    """One consumer; `run` it, `stop` it."""

    def __init__(self, stage: StageRuntime, name: str) -> None:
        spec = stage.spec
        self.stage = stage
        self.name = name
        self._resting = False
        self._wakeup = Wakeup()
        self._delivery = delivery_of(stage, name)
        self._prefetch = Prefetch(stage, name, self._wakeup, self._reply_lost)
        self._claims = {key: Claims(stage, key, name, held) for key, held in self._prefetch.held.items()}
        self._committing: asyncio.Task[None] | None = None
        self._retries = RetryQueue()
        self._turn = Turn(stage.context.quarantining, spec.settings.claim_after)
        self._owner = SinkOwner(stage, spec.sink, name) if spec.sink is not None else None
        self._told_to_stop = False
        self._task: asyncio.Task[None] | None = None
        self._interruptible = False

    @property
    def at_rest(self) -> bool:
        """Whether it has nothing in hand, and waits for new entries or stands by."""
        idle = self._resting and not self._retries and (self._committing is None or self._committing.done())
        return idle or (self._owner is not None and self._owner.standing_by)

    @property
    def _stopping(self) -> bool:
        return self._told_to_stop or self.stage.context.stopping.is_set()

    async def run(self) -> None:
        """Consume until stopped; raises what ends the pipeline."""
        self._task = asyncio.current_task()
        bind(stage=self.stage.name, consumer=self.name)
        await self.stage.retry_policy.keep_trying(self._prefetch.identify)
        try:
            while not self._stopping:
                try:
                    await self._open()
                    await self._consume()
                except FencedError as exc:
                    _log.warning("%s: %s; standing by", self.stage.name, exc)
                    self._forget()
                    if self._owner is not None:
                        await self._owner.close()
                except GroupGoneError:
                    self._forget()
                    await self.stage.retry_policy.keep_trying(lambda: repair_group(self.stage))
        finally:
            self._wakeup.close()
            if self._owner is not None:
                await self._owner.close()

    async def stop(self) -> None:
        """Finish the batch in hand, commit it, and return from `run`."""
        self._told_to_stop = True
        self._wakeup.ring()
        await self._prefetch.stop()
        if self._interruptible and self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Give back what was read and not processed, and remove the consumer if nothing is left with it."""
        client, group = self.stage.context.server.client, self.stage.spec.group
        await self._prefetch.close()
        for key, claims in self._claims.items():
            await claims.claimer.give_back(self.stage.spec.settings.claim_after)
            await delete_consumer(client, key, group, self.name)
        if self._owner is not None:
            await self._owner.release()

    # -- one turn ---------------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        try:
            while not self._stopping:
                for batch in await self._next_batches():
                    prepared = await prepare(self.stage, self._delivery, batch)
                    await self._committed()
                    await self._send(prepared)
                if self._turn.ours:
                    await self._committed()
                    self._turn.end()
            await self._committed()
        except Exception:
            if self._committing is not None:
                await asyncio.wait([self._committing])  # what was sent is counted
            raise
        finally:
            if self._committing is not None:
                self._committing.cancel()
                self._committing = None
            self._turn.end()

    async def _send(self, prepared: Prepared) -> None:
        """Commit a batch: while the next one is processed if that is at hand, else at once."""
        if not self._prefetch.reading and self._prefetch.room:
            # The next read goes out behind the commit: nothing is known to wait for it.
            asyncio.get_running_loop().call_soon(self._prefetch.read_ahead)
            await self._commit(prepared)
        else:
            self._committing = asyncio.create_task(self._commit(prepared))
            self._committing.add_done_callback(self._commit_done)
            await asyncio.sleep(0)  # it goes out before the next batch is worked on

    async def _commit(self, prepared: Prepared) -> None:
        again = await commit(self.stage, self._delivery, prepared)
        self._prefetch.committed(prepared.batch, (entry.id for entry, _ in again))
        self._retries.add(again, asyncio.get_running_loop().time())

    def _commit_done(self, committing: asyncio.Task[None]) -> None:
        """Wake the loop if it has to do something about it; usually it has not."""
        if self._resting and self._prefetch.reading and not self._retries and _went_well(committing):
            self.stage.context.activity.set()
        else:
            self._wakeup.ring()

    async def _committed(self) -> None:
        """Wait for the commit that is under way; raises what went wrong with it."""
        if self._committing is not None:
            committing, self._committing = self._committing, None
            await committing

    async def _next_batches(self) -> list[Batch]:
        """What to do next: retries that are due, then suspects, then new entries. Empty when stopping."""
        loop = asyncio.get_running_loop()
        keep_trying = self.stage.retry_policy.keep_trying
        while not self._stopping:
            now = loop.time()
            if self._retries.due_at(never=math.inf) <= now:
                if entries := await keep_trying(self._due_retries):
                    return apart(entries, self.stage.spec.settings.attempts)
                continue
            for claims in self._claims.values():
                if claims.quarantine and (batches := await self._quarantine(claims)):
                    return batches
                if now >= claims.next_look:
                    await keep_trying(lambda claims=claims: self._look(claims))  # type: ignore[misc]
            if any(claims.quarantine for claims in self._claims.values()):
                continue
            if batches := await self._new_batches(now):
                return batches
        return []

    async def _quarantine(self, claims: Claims) -> list[Batch]:
        """The next suspects, when it is our turn; it is over at once when nobody has left any of them."""
        await self._turn.begin(self.stage.context.stopping)
        if self._stopping:
            self._turn.end()
            return []
        entries = await self.stage.retry_policy.keep_trying(claims.next_batch)
        if not entries:
            self._turn.end()
        return apart(entries, self.stage.spec.settings.attempts)

    async def _new_batches(self, now: float) -> list[Batch]:
        """New entries, or nothing when something else is due first."""
        self._prefetch.read_ahead()
        if not self._prefetch.ready:
            await self._rest(now)
        return self._prefetch.take() if self._prefetch.ready else []

    async def _rest(self, now: float) -> None:
        """Wait for new entries, for the commit that is under way, or until something is due."""
        due = min((claims.next_look for claims in self._claims.values()), default=now + BLOCK_SECONDS)
        due = min(due, self._retries.due_at(never=due))
        if self.stage.context.pauses.holds(self.stage.name):
            due = min(due, now + PAUSED_SECONDS)
        self._resting = True
        if self.at_rest:
            self.stage.context.activity.set()
        try:
            await self._wakeup.wait(due)
        finally:
            self._resting = False
        if self._committing is not None and self._committing.done():
            await self._committed()

    # -- what feeds a turn ------------------------------------------------------------------------------------

    async def _reply_lost(self) -> None:
        """The connection broke while it waited: entries may have been delivered that never arrived."""

        async def adopt() -> None:
            await self._prefetch.identify()
            for claims in self._claims.values():
                await claims.adopt_own()

        await self.stage.retry_policy.keep_trying(adopt)

    async def _due_retries(self) -> list[Entry]:
        """The retries that are due, taken in hand again, which counts the attempt on the server."""
        now = asyncio.get_running_loop().time()
        due = self._retries.take_due(now, self.stage.spec.settings.batch_size)
        try:
            taken = await self._take_again(due)
        except ServerError:
            self._retries.add(((entry, 0.0) for entry in due), now)
            raise
        return taken

    async def _take_again(self, due: Sequence[Entry]) -> list[Entry]:
        taken: list[Entry] = []
        for key, group in groupby(sorted(due, key=lambda entry: entry.key), key=lambda entry: entry.key):
            ids = [entry.id for entry in group]
            entries = await self._claims[key].claimer.take(ids)
            self._prefetch.held[key].remove(set(ids) - {entry.id for entry in entries})
            taken += entries
        return taken

    async def _look(self, claims: Claims) -> None:
        if self._owner is not None:
            await self._committed()
            await self._owner.beat()
        await claims.claim_idle(self.stage.spec.settings.claim_after)

    # -- opening and giving up --------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the sink, if there is one, and take up what others left."""
        if self._owner is not None:
            self._interruptible = True
            try:
                delivery = await self._owner.open()
            finally:
                self._interruptible = False
            if delivery is None:
                return
            self._delivery = delivery
        await self.stage.retry_policy.keep_trying(self._take_up)

    async def _take_up(self) -> None:
        for claims in self._claims.values():
            await claims.adopt_own()
            await claims.take_from_gone()
            if self._owner is not None and self._owner.exclusive:
                await claims.take_all()

    def _forget(self) -> None:
        """What was in hand is not ours any more."""
        self._prefetch.forget()
        self._retries.clear()
        for claims in self._claims.values():
            claims.quarantine.clear()


def _went_well(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None
