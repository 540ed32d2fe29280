"""Taking over entries whose consumer is gone, and giving back what will not be processed.

XAUTOCLAIM (https://redis.io/docs/latest/commands/xautoclaim/) looks at 10 x COUNT entries a call, so its cursor
is carried on. It is called with JUSTID: entries become ours without their delivery count rising; that happens
when they are really taken (`take`), so that the count says how often an entry was tried, also across
crashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError
from papyra_flow.records.entries import Entry
from papyra_flow.streams.connection.client import Client


def given_back_ms(claim_after: float) -> int:
    """The idle time that given-back entries get: just past the claim time, so that the next to look takes them.

    It is what every view, metric and alert shows as their age, so it is no longer than that.
    """
    return int(claim_after * 1000) + 1


@dataclass(frozen=True, slots=True)
class Pending:
    """An entry that is pending: its id, owner, idle time in seconds, and how often it was delivered."""

    id: bytes
    consumer: str
    idle: float
    deliveries: int


class Claimer:
    """Claims for one group on one stream, as one consumer."""

    def __init__(self, client: Client, *, key: str, group: str, consumer: str) -> None:
        self._client = client
        self.key = key
        self._group = group
        self._consumer = consumer
        self._cursor: bytes = b"0-0"
        self.deleted = 0
        """Entries found pending but deleted from the stream by others: they are lost, and counted."""

    async def claim(self, idle: float, *, count: int = 100) -> list[bytes]:
        """Make up to `count` entries ours that have been idle for `idle` seconds; returns their ids.

        One call of XAUTOCLAIM: an empty list does not mean that there are none, unless `at_start`.
        """
        reply = await self._client.call(
            "XAUTOCLAIM", self.key, self._group, self._consumer, int(idle * 1000), self._cursor,
            "COUNT", count, "JUSTID",
        )  # fmt: skip
        if not isinstance(reply, list):
            raise CommandRefusedError(f"XAUTOCLAIM answered {reply!r}")
        self._cursor, ids = reply[0], list(reply[1])
        self.deleted += len(reply[2]) if len(reply) > 2 else 0
        return ids

    @property
    def at_start(self) -> bool:
        """Whether the last call reached the end of the pending entries."""
        return self._cursor == b"0-0"

    async def claim_from(self, consumer: str, *, count: int = 100) -> list[bytes]:
        """Make entries of a consumer that is known to be gone ours at once; returns their ids."""
        return await self.claim_ids([entry.id for entry in await self.pending(count, consumer=consumer)])

    async def claim_ids(self, ids: Sequence[bytes]) -> list[bytes]:
        """Make these pending entries ours at once; returns the ids of those that are."""
        if not ids:
            return []
        reply = await self._client.call("XCLAIM", self.key, self._group, self._consumer, 0, *ids, "JUSTID")
        return [id_ for id_ in reply if isinstance(id_, bytes)] if isinstance(reply, list) else []

    async def pending(
        self, count: int, *, consumer: str | None = None, start: str = "-", idle: float = 0.0
    ) -> list[Pending]:
        """Entries pending for `idle` seconds at least, ours unless another consumer is named; all consumers' for ''."""
        least = ("IDLE", int(idle * 1000)) if idle else ()
        of = (self._consumer if consumer is None else consumer,) if consumer != "" else ()
        reply = await self._client.call("XPENDING", self.key, self._group, *least, start, "+", count, *of)
        if not isinstance(reply, list):
            return []
        return [Pending(id_, owner.decode(), idle / 1000, times) for id_, owner, idle, times in reply]

    async def first_pending(self, consumers: Sequence[str]) -> dict[str, Pending]:
        """The first pending entry of each of these consumers that has any."""
        commands = [("XPENDING", self.key, self._group, "-", "+", 1, consumer) for consumer in consumers]
        replies = await self._client.call_many(commands)
        return {
            name: Pending(reply[0][0], name, reply[0][2] / 1000, reply[0][3])
            for name, reply in zip(consumers, replies, strict=True)
            if isinstance(reply, list) and reply
        }

    async def take(self, ids: Sequence[bytes]) -> list[Entry]:
        """Take entries: read them and raise their delivery count (XCLAIM).

        An entry that is not pending any more, or was deleted, is not among them.
        """
        if not ids:
            return []
        reply = await self._client.call("XCLAIM", self.key, self._group, self._consumer, 0, *ids)
        if not isinstance(reply, list):
            return []
        entries = [Entry(self.key, entry[0], entry[1]) for entry in reply if entry and entry[1]]
        if entries:
            counts = await self.deliveries([entry.id for entry in entries])
            for entry in entries:
                entry.deliveries = counts.get(entry.id, 1)
        return entries

    async def deliveries(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """How often each of these entries was delivered, by the server's count."""
        commands = [("XPENDING", self.key, self._group, id_, id_, 1) for id_ in ids]
        replies = await self._client.call_many(commands)
        return {reply[0][0]: reply[0][3] for reply in replies if isinstance(reply, list) and reply}

    async def refresh(self, ids: Sequence[bytes]) -> None:
        """Say that these entries are still being worked on: their idle time starts again, their count stays."""
        if ids:
            await self._client.call("XCLAIM", self.key, self._group, self._consumer, 0, *ids, "JUSTID")

    async def give_back(self, claim_after: float) -> int:
        """Make all that is pending for this consumer claimable at once; returns how many entries."""
        given, start = 0, "-"
        while found := await self.pending(1000, start=start):
            ids = [entry.id for entry in found]
            await self._client.call(
                "XCLAIM", self.key, self._group, self._consumer, 0, *ids, "IDLE", given_back_ms(claim_after), "JUSTID"
            )
            given += len(ids)
            start = "(" + ids[-1].decode()
        return given
