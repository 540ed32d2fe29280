"""One consumer of a stage: read a batch, prefetch the next, process, commit; over and over.

Three things feed it: new entries, retries that are due, and entries taken over from consumers that are gone.
What does not live here: the steps (`processing`), the commit (`delivery`), the claims (`recovery`).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Sequence
from itertools import count, groupby

from papyra_flow.connectors.base import Sink
from papyra_flow.errors import FencedError, GroupGoneError, PipelineFailedError, RecordError, ServerError
from papyra_flow.runtime.delivery import Delivery, SinkDelivery
from papyra_flow.runtime.keepalive import Held
from papyra_flow.runtime.processing import Processed
from papyra_flow.runtime.recovery import Recovery
from papyra_flow.runtime.stage import StageRuntime
from papyra_flow.runtime.suspects import is_killer
from papyra_flow.streams.entries import Entry
from papyra_flow.streams.groups import create_groups, delete_consumer
from papyra_flow.streams.lease import Lease
from papyra_flow.streams.reading import GroupReader

BLOCK_SECONDS = 5.0
_log = logging.getLogger("papyra_flow.stage")


class Consumer:
    """One consumer; `run` it, `stop` it."""

    def __init__(self, stage: StageRuntime, name: str) -> None:
        spec, around = stage.spec, stage.around
        self.stage = stage
        self.name = name
        self.idle = False
        """Whether it has nothing in hand and waits for new entries."""
        self._delivery: Delivery = Delivery(stage, name)
        self._held = {
            stream.key: Held(stream.key, spec.group, name, spec.settings.claim_after / 3) for stream in stage.inputs
        }
        for held in self._held.values():
            around.keepalive.watch(held)
        self._recoveries = {key: Recovery(stage, key, name, held) for key, held in self._held.items()}
        self._reader = GroupReader(
            around.server.new_wire(), around.server.wire, keys=list(self._held), group=spec.group, consumer=name
        )
        self._reading: asyncio.Task[list[Entry]] | None = None
        self._retries: list[tuple[float, int, Entry]] = []
        self._sequence = count()
        self._sink: Sink | None = None
        self._lease: Lease | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._waits_for_lease = False

    async def run(self) -> None:
        """Consume until stopped; raises what ends the pipeline."""
        self._task = asyncio.current_task()
        await self.stage.patience.keep_trying(self._reader.identify)
        try:
            while not self._stopping:
                try:
                    await self._open()
                    await self._consume()
                except FencedError as exc:
                    _log.warning("%s: %s; standing by", self.stage.name, exc)
                    await self._give_up_lease()
        finally:
            if self._sink is not None:
                await self._sink.close()

    async def stop(self) -> None:
        """Finish the batch in hand, commit it, and return from `run`."""
        self._stopping = True
        await self._reader.stop()
        if self._waits_for_lease and self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Give back what was read and not processed, and remove the consumer if nothing is left with it."""
        wire, group = self.stage.around.server.wire, self.stage.spec.group
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=1.0)
            self._reading.cancel()
        await self._reader.close()
        for key, recovery in self._recoveries.items():
            await recovery.claimer.give_back()
            await delete_consumer(wire, key, group, self.name)
        if self._lease is not None:
            await self.stage.around.leases.release(self._lease)

    # -- one turn ---------------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        while not self._stopping:
            batch = await self._next_batch()
            for _, entries in groupby(batch, key=lambda entry: entry.key):
                await self._handle(list(entries))

    async def _handle(self, entries: list[Entry]) -> None:
        """Process and commit the entries of one stream."""
        processed = await self._process(entries)
        again = await self._delivery.deliver(entries, processed)
        held = self._held[entries[0].key]
        waiting = {entry for entry, _ in again}
        held.remove(entry.id for entry in entries if entry not in waiting)
        now = asyncio.get_running_loop().time()
        for entry, delay in again:
            heapq.heappush(self._retries, (now + delay, next(self._sequence), entry))

    async def _process(self, entries: list[Entry]) -> Processed:
        attempts = self.stage.spec.settings.attempts
        killers = {entry for entry in entries if entry.deliveries > 1 and is_killer(entry, attempts)}
        if not killers:
            return await self.stage.processor.process(entries)
        processed = await self.stage.processor.process([entry for entry in entries if entry not in killers])
        for entry in killers:
            processed.failed[entry] = RecordError(
                f"delivered {entry.deliveries} times without ever coming to an end: it ends the worker that runs it"
            )
        return processed

    async def _next_batch(self) -> list[Entry]:
        """What to do next: retries that are due, then suspects, then new entries. Empty when stopping."""
        loop = asyncio.get_running_loop()
        keep_trying = self.stage.patience.keep_trying
        while not self._stopping:
            now = loop.time()
            if self._retries and self._retries[0][0] <= now:
                if entries := await keep_trying(lambda: self._due_retries(now)):
                    return entries
                continue
            for recovery in self._recoveries.values():
                if recovery.suspects and (entries := await keep_trying(recovery.next_batch)):
                    return entries
                if now >= recovery.next_look:
                    await keep_trying(lambda recovery=recovery: self._look(recovery))  # type: ignore[misc]
            if any(recovery.suspects for recovery in self._recoveries.values()):
                continue
            if entries := await self._new_entries(now):
                return entries
        return []

    async def _new_entries(self, now: float) -> list[Entry]:
        """New entries, or nothing when something else is due first."""
        if self._reading is None and self._room():
            self._reading = asyncio.create_task(self._read())
        due = min((recovery.next_look for recovery in self._recoveries.values()), default=now + BLOCK_SECONDS)
        if self._retries:
            due = min(due, self._retries[0][0])
        if self._reading is None:
            await self.stage.around.rest(max(0.0, due - now))
            return []
        if not self._reading.done():
            self._rest()
            await asyncio.wait([self._reading], timeout=max(0.0, due - now))
            self.idle = False
        if not self._reading.done():
            return []
        entries = self._reading.result()
        self._reading = asyncio.create_task(self._read()) if not self._stopping and self._room() else None
        if not entries and not self._stopping:
            # Perhaps a reply was lost together with its connection: what it delivered is pending for us.
            return []
        return entries

    def _rest(self) -> None:
        self.idle = not self._retries
        if self.idle:
            self.stage.around.activity.set()

    # -- what feeds a turn ------------------------------------------------------------------------------------

    def _room(self) -> int:
        """How many entries may be read now, by `max_pending`."""
        held = sum(map(len, self._held.values()))
        settings = self.stage.spec.settings
        return min(settings.batch_size, settings.max_pending - held) if settings.max_pending > held else 0

    async def _read(self) -> list[Entry]:
        settings, around = self.stage.spec.settings, self.stage.around
        await around.gates.room(self.stage.spec.outputs)
        entries = await self._read_once(self._room() or 1, BLOCK_SECONDS)
        if entries and settings.batch_wait and len(entries) < settings.batch_size:
            entries = await self._fill(entries)
        for key, group in groupby(entries, key=lambda entry: entry.key):
            self._held[key].add(entry.id for entry in group)
        self.stage.counters.read += len(entries)
        return entries

    async def _fill(self, entries: list[Entry]) -> list[Entry]:
        """Wait for more, as long as `batch.wait` says."""
        settings, loop = self.stage.spec.settings, asyncio.get_running_loop()
        deadline = loop.time() + settings.batch_wait
        while len(entries) < settings.batch_size and (left := deadline - loop.time()) > 0 and not self._stopping:
            entries = entries + await self._read_once(settings.batch_size - len(entries), left)
        return sorted(entries, key=lambda entry: entry.key) if len(self._held) > 1 else entries

    async def _read_once(self, size: int, block: float) -> list[Entry]:
        async def read() -> list[Entry]:
            try:
                return await self._reader.read(size, block=block)
            except GroupGoneError:
                await self._recreate()
                return []

        return await self.stage.patience.keep_trying(read, lost=self._reply_lost)

    async def _reply_lost(self) -> None:
        """The connection broke while it waited: entries may have been delivered that never arrived."""

        async def adopt() -> None:
            await self._reader.identify()
            for recovery in self._recoveries.values():
                await recovery.adopt_own()

        await self.stage.patience.keep_trying(adopt)

    async def _recreate(self) -> None:
        """The group is gone. With all else of the pipeline, as after FLUSHALL: create it anew. Alone: say so, stop."""
        around, stage = self.stage.around, self.stage.name
        groups = around.topology.groups([self.stage.spec])
        marked = await around.server.wire.call("EXISTS", around.topology.keys.applied)
        if marked:
            raise PipelineFailedError(
                f"the group {self.stage.spec.group!r} of the stage {stage!r} was destroyed while it ran; "
                "run again to create it anew, from where `start` says"
            )
        _log.warning("%s: the server has lost the pipeline's keys; creating its groups anew", stage)
        await create_groups(around.server.wire, groups, marker=around.topology.keys.applied)

    async def _due_retries(self, now: float) -> list[Entry]:
        """The retries that are due, taken in hand again, which counts the attempt on the server."""
        due: list[Entry] = []
        while self._retries and self._retries[0][0] <= now and len(due) < self.stage.spec.settings.batch_size:
            due.append(heapq.heappop(self._retries)[2])
        try:
            taken = await self._take_again(due)
        except ServerError:
            for entry in due:
                heapq.heappush(self._retries, (now, next(self._sequence), entry))
            raise
        return taken

    async def _take_again(self, due: Sequence[Entry]) -> list[Entry]:
        taken: list[Entry] = []
        for key, group in groupby(sorted(due, key=lambda entry: entry.key), key=lambda entry: entry.key):
            ids = [entry.id for entry in group]
            entries = await self._recoveries[key].claimer.take(ids)
            self._held[key].remove(set(ids) - {entry.id for entry in entries})
            taken += entries
        return taken

    async def _look(self, recovery: Recovery) -> None:
        if self._lease is not None:
            await self.stage.around.leases.beat(self._lease)
        await recovery.claim_idle(self.stage.spec.settings.claim_after)

    # -- owning a sink ----------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the sink, as its owner if it has only one; and take up what others left."""
        spec, around = self.stage.spec, self.stage.around
        if spec.sink is not None:
            sink = spec.sink.open(around.topology.connector_context(spec.name))
            self._lease = await self._own() if spec.exclusive else None
            if self._stopping:
                return
            self._sink = sink
            self._waits_for_lease = True
            await sink.start(self._lease.checkpoint if self._lease else "")
            self._waits_for_lease = False
            self._delivery = SinkDelivery(self.stage, self.name, sink, self._lease)
        await self.stage.patience.keep_trying(self._take_up)

    async def _take_up(self) -> None:
        for recovery in self._recoveries.values():
            await recovery.adopt_own()
            await recovery.take_from_gone()
            if self._lease is not None:
                await recovery.take_all()

    _was_owner = False

    async def _own(self) -> Lease | None:
        """Take the lease: at once at the start, later only when its owner has gone silent."""
        leases, key = self.stage.around.leases, self.stage.spec.lease_key
        silence = self.stage.spec.settings.claim_after
        while not self._stopping:
            wait_for = silence if self._was_owner else None
            lease = await self.stage.patience.keep_trying(lambda wait=wait_for: leases.take(key, wait_for=wait))  # type: ignore[misc]
            if lease is not None:
                self._was_owner = True
                return lease
            self._rest()
            await self.stage.around.rest(silence / 3)
        return None

    async def _give_up_lease(self) -> None:
        if self._sink is not None:
            await self._sink.close()
        self._sink = self._lease = None
        self._retries.clear()
        for held in self._held.values():
            held.remove(held.ids())
        if self._reading is not None and self._reading.done():
            self._reading = None
