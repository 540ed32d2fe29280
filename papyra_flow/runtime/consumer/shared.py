"""The reader of a shared stage: a consumer group whose entries are pending until they are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.consumer.claims import Claims
from papyra_flow.runtime.consumer.feed import Feed
from papyra_flow.runtime.consumer.prefetch import Prefetch
from papyra_flow.runtime.consumer.quarantine import QuarantineTurn
from papyra_flow.runtime.consumer.retry_queue import RetryQueue
from papyra_flow.runtime.consumer.wakeup import Wakeup
from papyra_flow.runtime.services.keepalive import Held
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.lifecycle import delete_consumer
from papyra_flow.streams.groups.reading import GroupReader


class SharedReader:
    """One consumer's; see `Reader`."""

    def __init__(
        self, stage: StageRuntime, consumer: str, wakeup: Wakeup, before_look: Callable[[], Awaitable[None]]
    ) -> None:
        """`wakeup` is set off when entries have come; `before_look` is awaited before each look for idle entries."""
        spec, context = stage.spec, stage.context
        self._stage = stage
        self._consumer = consumer
        keys = [stream.key for stream in stage.inputs]
        held = {key: Held(key, spec.group, consumer, spec.settings.claim_after / 3) for key in keys}
        for one in held.values():
            context.keepalive.watch(one)
        self._claimers = {
            key: Claimer(context.server.client, key=key, group=spec.group, consumer=consumer) for key in keys
        }
        self._turn = QuarantineTurn(context.quarantining, spec.settings.claim_after)
        self._retries = RetryQueue(stage, self._claimers, held)
        self._claims = [
            Claims(stage, self._claimers[key], consumer, held[key], self._turn, before_look) for key in keys
        ]
        reader = GroupReader(
            context.server.new_wire(), context.server.client, keys=keys, group=spec.group, consumer=consumer
        )
        self._new = Prefetch(stage, held, wakeup, self._reply_lost, reader)
        self.feeds: Sequence[Feed] = (self._retries, *self._claims, self._new)
        """In their order of precedence: what is due comes before what was left behind, and that before what is new."""

    @property
    def reading(self) -> bool:
        """As `Reader.reading`."""
        return self._new.reading

    @property
    def idle(self) -> bool:
        """As `Reader.idle`."""
        return not self._retries

    @property
    def careful(self) -> bool:
        """As `Reader.careful`: whether a quarantined batch is in flight."""
        return self._turn.ours

    async def start(self) -> None:
        """As `Reader.start`."""
        await self._stage.retry_policy.keep_trying(self._new.identify)

    async def open(self, *, alone: bool) -> None:
        """As `Reader.open`."""

        async def take_up() -> None:
            for claims in self._claims:
                await claims.adopt_own()
                await claims.take_from_gone()
                if alone:
                    await claims.take_all()

        await self._stage.retry_policy.keep_trying(take_up)

    def read_behind(self) -> bool:
        """As `Reader.read_behind`."""
        if self._new.reading or not self._new.room:
            return False
        asyncio.get_running_loop().call_soon(self._new.read_ahead)
        return True

    def committed(self, batch: Batch, again: Sequence[tuple[Entry, float]]) -> None:
        """As `Reader.committed`."""
        self._new.committed(batch, (entry.id for entry, _ in again))
        self._retries.add(again)

    def settled(self) -> None:
        """As `Reader.settled`."""
        self._turn.end()

    def forget(self) -> None:
        """As `Reader.forget`."""
        for feed in self.feeds:
            feed.forget()

    async def stop(self) -> None:
        """As `Reader.stop`."""
        await self._new.stop()

    async def leave(self) -> None:
        """As `Reader.leave`; the consumer is removed from the group if nothing is left with it."""
        spec, client = self._stage.spec, self._stage.context.server.client
        for feed in self.feeds:
            await feed.close()
        for key, claimer in self._claimers.items():
            await claimer.give_back(spec.settings.claim_after)
            await delete_consumer(client, key, spec.group, self._consumer)

    async def _reply_lost(self) -> None:
        """The connection broke while it waited: entries may have been delivered that never arrived."""

        async def adopt() -> None:
            await self._new.identify()
            for claims in self._claims:
                await claims.adopt_own()

        await self._stage.retry_policy.keep_trying(adopt)
