"""Finding entries that lost their consumer, for one consumer: its own after a lost reply, and those of the gone.

Own pending entries that are not in hand were delivered by a reply that never arrived. Consumers that were
processes of this host and do not run any more are known to be gone; of all others the claim time decides.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable

from papyra_flow.errors import ServerError
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.consumer.clock_skew import Unaging
from papyra_flow.runtime.consumer.quarantine import Quarantine
from papyra_flow.runtime.process.consumer_names import gone
from papyra_flow.runtime.services.keepalive import Held
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.lifecycle import ConsumerInfo, consumers_of, delete_consumer

PORTION = 100
SILENT_CLAIM_TIMES = 10
_log = logging.getLogger("papyra_flow.stage")


class Claims:
    """One consumer's claims on one stream."""

    def __init__(self, stage: StageRuntime, key: str, consumer: str, held: Held) -> None:
        self._stage = stage
        self._key = key
        self._consumer = consumer
        self._held = held
        self._client = stage.context.server.client
        self.claimer = Claimer(self._client, key=key, group=stage.spec.group, consumer=consumer)
        self.quarantine = Quarantine(stage.spec.settings.batch_size)
        self.next_look = 0.0
        """When to look for idle entries again, on the loop's clock."""
        self._deleted = 0
        self._unaging = Unaging(stage.spec.settings.claim_after)

    async def adopt_own(self) -> None:
        """Take up what is pending for this very consumer and not in hand."""
        start = "-"
        while found := await self.claimer.pending(1000, start=start):
            self._suspect((p.id, p.deliveries) for p in found if not self._held.has(p.id))
            start = "(" + found[-1].id.decode()

    async def take_from_gone(self) -> None:
        """Take over everything of consumers of this host that do not run any more, and remove them."""
        group = self._stage.spec.group
        others = [consumer.name for consumer in await consumers_of(self._client, self._key, group)]
        for name in gone(name for name in others if name != self._consumer):
            while ids := await self.claimer.claim_from(name, count=PORTION):
                self._claimed(await self._counted(ids))
            await delete_consumer(self._client, self._key, group, name)

    async def take_unaging(self, others: Iterable[ConsumerInfo]) -> None:
        """Take over what dead consumers had when the server's clock went back: its idle time stands still."""
        first = await self.claimer.first_pending([other.name for other in others if other.pending])
        for name in self._unaging.look(first, asyncio.get_running_loop().time()):
            _log.warning(
                "%s: entries of %s do not grow older, the server's clock must have gone back; taking them over",
                self._stage.name, name,
            )  # fmt: skip
            start = "-"
            while found := await self.claimer.pending(PORTION, consumer=name, start=start):
                start = "(" + found[-1].id.decode()
                ids = await self.claimer.claim_ids([entry.id for entry in found if entry.idle == 0])
                self._claimed(await self._counted(ids))

    async def remove_silent(self, others: Iterable[ConsumerInfo]) -> None:
        """Remove consumers elsewhere that have nothing pending and have been silent for long.

        Whoever lives reads again every few seconds, and is back in the group by that if it was removed.
        """
        group, silence = self._stage.spec.group, SILENT_CLAIM_TIMES * self._stage.spec.settings.claim_after
        for consumer in others:
            if consumer.pending == 0 and consumer.idle > silence:
                await delete_consumer(self._client, self._key, group, consumer.name)

    async def claim_idle(self, idle: float) -> None:
        """Take over a portion of what has been idle for `idle` seconds, and set the time of the next look."""
        ids = await self.claimer.claim(idle, count=PORTION)
        self._claimed(await self._counted([id_ for id_ in ids if not self._held.has(id_)]))
        if self.claimer.deleted > self._deleted:
            _log.warning(
                "%s: %d pending entries of %s had been deleted from the stream, and are lost",
                self._stage.name, self.claimer.deleted - self._deleted, self._key,
            )  # fmt: skip
            self._deleted = self.claimer.deleted
        if self.claimer.at_start:
            everyone = await consumers_of(self._client, self._key, self._stage.spec.group)
            others = [consumer for consumer in everyone if consumer.name != self._consumer]
            await self.remove_silent(others)
            await self.take_unaging(others)
        pause = 0.0 if not self.claimer.at_start else self._stage.spec.settings.claim_after / 2
        self.next_look = asyncio.get_running_loop().time() + pause * (0.8 + 0.4 * random.random())  # noqa: S311

    async def take_all(self) -> None:
        """Take over everything that is pending, whoever has it: for the exclusive owner, who fenced off the rest."""
        while True:
            await self.claim_idle(0)
            if self.claimer.at_start:
                return

    async def next_batch(self) -> list[Entry]:
        """The next suspects, taken in hand; entries that somebody has acked meanwhile are not among them.

        Raises ServerErrors, and then they wait as before.
        """
        batch = self.quarantine.next_batch()
        ids = [id_ for id_, _ in batch]
        try:
            entries = await self.claimer.take(ids)
        except ServerError:
            self.quarantine.add(batch)
            raise
        taken = {entry.id for entry in entries}
        self._held.remove(id_ for id_ in ids if id_ not in taken)
        return entries

    async def _counted(self, ids: list[bytes]) -> list[tuple[bytes, int]]:
        counts = await self.claimer.deliveries(ids)
        return [(id_, counts[id_]) for id_ in ids if id_ in counts]

    def _claimed(self, entries: list[tuple[bytes, int]]) -> None:
        self._stage.counters.claimed += self._suspect(entries)

    def _suspect(self, entries: Iterable[tuple[bytes, int]]) -> int:
        found = list(entries)
        self._held.add(id_ for id_, _ in found)
        return self.quarantine.add(found)
