"""One consumer of a stage: read a batch, prefetch the next, process, commit; over and over.

Three things feed it: new entries, retries that are due, and entries taken over from consumers that are gone. While
one batch is being committed the next is processed; its own commit is sent when that one is done, which keeps order.
What does not live here: the steps (`processing`), the commit (`delivery`), the claims (`recovery`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from itertools import groupby

from papyra_flow.errors import FencedError, GroupGoneError, ServerError
from papyra_flow.observe.logs import bind
from papyra_flow.runtime.bell import Bell
from papyra_flow.runtime.delivery import Prepared, delivery_of
from papyra_flow.runtime.intake import BLOCK_SECONDS, Intake
from papyra_flow.runtime.ownership import SinkOwner
from papyra_flow.runtime.recovery import Recovery
from papyra_flow.runtime.regroup import regroup
from papyra_flow.runtime.retries import Retries
from papyra_flow.runtime.stage import StageRuntime
from papyra_flow.runtime.suspects import Turn, apart
from papyra_flow.runtime.work import commit, prepare
from papyra_flow.streams.batch import Batch
from papyra_flow.streams.entries import Entry
from papyra_flow.streams.groups import delete_consumer

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
        self._bell = Bell()
        self._delivery = delivery_of(stage, name)
        self._intake = Intake(stage, name, self._bell, self._reply_lost)
        self._recoveries = {key: Recovery(stage, key, name, held) for key, held in self._intake.held.items()}
        self._committing: asyncio.Task[None] | None = None
        self._retries = Retries()
        self._turn = Turn(stage.around.suspecting, spec.settings.claim_after)
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
        return self._told_to_stop or self.stage.around.stopping.is_set()

    async def run(self) -> None:
        """Consume until stopped; raises what ends the pipeline."""
        self._task = asyncio.current_task()
        bind(stage=self.stage.name, consumer=self.name)
        await self.stage.patience.keep_trying(self._intake.identify)
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
                    await self.stage.patience.keep_trying(lambda: regroup(self.stage))
        finally:
            self._bell.close()
            if self._owner is not None:
                await self._owner.close()

    async def stop(self) -> None:
        """Finish the batch in hand, commit it, and return from `run`."""
        self._told_to_stop = True
        self._bell.ring()
        await self._intake.stop()
        if self._interruptible and self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Give back what was read and not processed, and remove the consumer if nothing is left with it."""
        wire, group = self.stage.around.server.wire, self.stage.spec.group
        await self._intake.close()
        for key, recovery in self._recoveries.items():
            await recovery.claimer.give_back(self.stage.spec.settings.claim_after)
            await delete_consumer(wire, key, group, self.name)
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
        if not self._intake.reading and self._intake.room:
            # The next read goes out behind the commit: nothing is known to wait for it.
            asyncio.get_running_loop().call_soon(self._intake.read_ahead)
            await self._commit(prepared)
        else:
            self._committing = asyncio.create_task(self._commit(prepared))
            self._committing.add_done_callback(self._commit_done)
            await asyncio.sleep(0)  # it goes out before the next batch is worked on

    async def _commit(self, prepared: Prepared) -> None:
        again = await commit(self.stage, self._delivery, prepared)
        self._intake.committed(prepared.batch, (entry.id for entry, _ in again))
        self._retries.add(again, asyncio.get_running_loop().time())

    def _commit_done(self, committing: asyncio.Task[None]) -> None:
        """Wake the loop if it has to do something about it; usually it has not."""
        if self._resting and self._intake.reading and not self._retries and _went_well(committing):
            self.stage.around.activity.set()
        else:
            self._bell.ring()

    async def _committed(self) -> None:
        """Wait for the commit that is under way; raises what went wrong with it."""
        if self._committing is not None:
            committing, self._committing = self._committing, None
            await committing

    async def _next_batches(self) -> list[Batch]:
        """What to do next: retries that are due, then suspects, then new entries. Empty when stopping."""
        loop = asyncio.get_running_loop()
        keep_trying = self.stage.patience.keep_trying
        while not self._stopping:
            now = loop.time()
            if self._retries.due_at(never=math.inf) <= now:
                if entries := await keep_trying(self._due_retries):
                    return apart(entries, self.stage.spec.settings.attempts)
                continue
            for recovery in self._recoveries.values():
                if recovery.suspects and (batches := await self._suspects(recovery)):
                    return batches
                if now >= recovery.next_look:
                    await keep_trying(lambda recovery=recovery: self._look(recovery))  # type: ignore[misc]
            if any(recovery.suspects for recovery in self._recoveries.values()):
                continue
            if batches := await self._new_batches(now):
                return batches
        return []

    async def _suspects(self, recovery: Recovery) -> list[Batch]:
        """The next suspects, when it is our turn; it is over at once when nobody has left any of them."""
        await self._turn.begin(self.stage.around.stopping)
        if self._stopping:
            self._turn.end()
            return []
        entries = await self.stage.patience.keep_trying(recovery.next_batch)
        if not entries:
            self._turn.end()
        return apart(entries, self.stage.spec.settings.attempts)

    async def _new_batches(self, now: float) -> list[Batch]:
        """New entries, or nothing when something else is due first."""
        self._intake.read_ahead()
        if not self._intake.ready:
            await self._rest(now)
        return self._intake.take() if self._intake.ready else []

    async def _rest(self, now: float) -> None:
        """Wait for new entries, for the commit that is under way, or until something is due."""
        due = min((recovery.next_look for recovery in self._recoveries.values()), default=now + BLOCK_SECONDS)
        due = min(due, self._retries.due_at(never=due))
        if self.stage.around.pauses.holds(self.stage.name):
            due = min(due, now + PAUSED_SECONDS)
        self._resting = True
        if self.at_rest:
            self.stage.around.activity.set()
        try:
            await self._bell.wait(due)
        finally:
            self._resting = False
        if self._committing is not None and self._committing.done():
            await self._committed()

    # -- what feeds a turn ------------------------------------------------------------------------------------

    async def _reply_lost(self) -> None:
        """The connection broke while it waited: entries may have been delivered that never arrived."""

        async def adopt() -> None:
            await self._intake.identify()
            for recovery in self._recoveries.values():
                await recovery.adopt_own()

        await self.stage.patience.keep_trying(adopt)

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
            entries = await self._recoveries[key].claimer.take(ids)
            self._intake.held[key].remove(set(ids) - {entry.id for entry in entries})
            taken += entries
        return taken

    async def _look(self, recovery: Recovery) -> None:
        if self._owner is not None:
            await self._committed()
            await self._owner.beat()
        await recovery.claim_idle(self.stage.spec.settings.claim_after)

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
        await self.stage.patience.keep_trying(self._take_up)

    async def _take_up(self) -> None:
        for recovery in self._recoveries.values():
            await recovery.adopt_own()
            await recovery.take_from_gone()
            if self._owner is not None and self._owner.exclusive:
                await recovery.take_all()

    def _forget(self) -> None:
        """What was in hand is not ours any more."""
        self._intake.forget()
        self._retries.clear()
        for recovery in self._recoveries.values():
            recovery.suspects.clear()


def _went_well(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is None
