"""The feed of entries that lost their consumer: its own after a lost reply, and those of the gone.

Its own pending entries that it does not hold were delivered by a reply that never arrived. Consumers that were
processes of this host and do not run any more are known to be gone; of all others the claim time decides.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from papyra_flow.errors import ServerError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.consumer.clock_skew import Unaging
from papyra_flow.runtime.consumer.consumer_names import gone
from papyra_flow.runtime.consumer.quarantine import Quarantine, QuarantineTurn, apart
from papyra_flow.runtime.services.keepalive import Held
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.lifecycle import ConsumerInfo, consumers_of, delete_consumer

PORTION = 100
SILENT_CLAIM_TIMES = 10
_log = logging.getLogger("papyra_flow.stage")


class Claims:
    """One consumer's claims on one stream."""

    def __init__(
        self,
        stage: StageRuntime,
        claimer: Claimer,
        consumer: str,
        held: Held,
        turn: QuarantineTurn,
        before_look: Callable[[], Awaitable[None]],
    ) -> None:
        """`before_look` is awaited before each look for idle entries."""
        self._stage = stage
        self._key = claimer.key
        self._consumer = consumer
        self._held = held
        self._turn = turn
        self._before_look = before_look
        self._client = stage.context.server.client
        self._claimer = claimer
        self._quarantine = Quarantine(stage.spec.settings.batch_size)
        self._next_look = 0.0
        """When to look for idle entries again, on the loop's clock."""
        self._deleted = 0
        self._unaging = Unaging(stage.spec.settings.claim_after)

    # -- as a feed --------------------------------------------------------------------------------------------

    def due_at(self, now: float) -> float:
        """At once while there are quarantined entries, else with the next look for idle entries."""
        return now if self._quarantine else self._next_look

    async def take(self) -> list[Batch]:
        """The next quarantined entries, when it is this consumer's turn; looks for some where none are known."""
        keep_trying, context = self._stage.retry_policy.keep_trying, self._stage.context
        if not self._quarantine:
            await keep_trying(self._look)
        while self._quarantine:
            await self._turn.begin(context.stopping)
            if context.stopping.is_set():
                self._turn.end()
                break
            if entries := await keep_trying(self._next_entries):
                return apart(entries, self._stage.spec.settings.attempts)
            self._turn.end()
        return []

    def forget(self) -> None:
        """Forget all quarantined entries."""
        self._quarantine.clear()

    async def close(self) -> None:
        """There is nothing to close."""

    async def _look(self) -> None:
        await self._before_look()
        await self._claim_idle(self._stage.spec.settings.claim_after)

    async def _next_entries(self) -> list[Entry]:
        """The next quarantined entries, delivered once more; those that were acknowledged meanwhile are not among them.

        Raises ServerErrors, and then they wait as before.
        """
        batch = self._quarantine.next_batch()
        ids = [id_ for id_, _ in batch]
        try:
            entries = await self._claimer.take(ids)
        except ServerError:
            self._quarantine.add(batch)
            raise
        taken = {entry.id for entry in entries}
        self._held.remove(id_ for id_ in ids if id_ not in taken)
        return entries

    # -- finding them -----------------------------------------------------------------------------------------

    async def adopt_own(self) -> None:
        """Take up what is pending for this very consumer, and not held by it."""
        start = "-"
        while found := await self._claimer.pending(1000, start=start):
            self._hold((p.id, p.deliveries) for p in found if not self._held.has(p.id))
            start = "(" + found[-1].id.decode()

    async def take_from_gone(self) -> None:
        """Take over everything of consumers of this host that do not run any more, and remove them."""
        group = self._stage.spec.group
        others = [consumer.name for consumer in await consumers_of(self._client, self._key, group)]
        for name in gone(name for name in others if name != self._consumer):
            while ids := await self._claimer.claim_from(name, count=PORTION):
                self._claimed(await self._counted(ids))
            await delete_consumer(self._client, self._key, group, name)

    async def _take_unaging(self, others: Iterable[ConsumerInfo]) -> None:
        """Take over what dead consumers had when the server's clock went back: its idle time stands still."""
        first = await self._claimer.first_pending([other.name for other in others if other.pending])
        for name in self._unaging.look(first, asyncio.get_running_loop().time()):
            _log.warning(
                "%s: entries of %s do not grow older, the server's clock must have gone back; claiming them",
                self._stage.name, name,
            )  # fmt: skip
            start = "-"
            while found := await self._claimer.pending(PORTION, consumer=name, start=start):
                start = "(" + found[-1].id.decode()
                ids = await self._claimer.claim_ids([entry.id for entry in found if entry.idle == 0])
                self._claimed(await self._counted(ids))

    async def _remove_silent(self, others: Iterable[ConsumerInfo]) -> None:
        """Remove consumers elsewhere that have nothing pending and have been silent for long.

        A live consumer reads again every few seconds, and so is back in the group if it was removed.
        """
        group, silence = self._stage.spec.group, SILENT_CLAIM_TIMES * self._stage.spec.settings.claim_after
        for consumer in others:
            if consumer.pending == 0 and consumer.idle > silence:
                await delete_consumer(self._client, self._key, group, consumer.name)

    async def _claim_idle(self, idle: float) -> None:
        """Take over a portion of what has been idle for `idle` seconds, and set the time of the next look."""
        ids = await self._claimer.claim(idle, count=PORTION)
        self._claimed(await self._counted([id_ for id_ in ids if not self._held.has(id_)]))
        if self._claimer.deleted > self._deleted:
            _log.warning(
                "%s: %d pending entries of %s were deleted from the stream and are lost",
                self._stage.name, self._claimer.deleted - self._deleted, self._key,
            )  # fmt: skip
            self._deleted = self._claimer.deleted
        if self._claimer.at_start:
            everyone = await consumers_of(self._client, self._key, self._stage.spec.group)
            others = [consumer for consumer in everyone if consumer.name != self._consumer]
            await self._remove_silent(others)
            await self._take_unaging(others)
        pause = 0.0 if not self._claimer.at_start else self._stage.spec.settings.claim_after / 2
        self._next_look = asyncio.get_running_loop().time() + pause * (0.8 + 0.4 * random.random())  # noqa: S311

    async def take_all(self) -> None:
        """Take over everything that is pending for any consumer: for the exclusive owner, who fenced off the rest."""
        while True:
            await self._claim_idle(0)
            if self._claimer.at_start:
                return

    async def _counted(self, ids: list[bytes]) -> list[tuple[bytes, int]]:
        counts = await self._claimer.deliveries(ids)
        return [(id_, counts[id_]) for id_ in ids if id_ in counts]

    def _claimed(self, entries: list[tuple[bytes, int]]) -> None:
        self._stage.counters.claimed += self._hold(entries)

    def _hold(self, entries: Iterable[tuple[bytes, int]]) -> int:
        found = list(entries)
        self._held.add(id_ for id_, _ in found)
        return self._quarantine.add(found)
