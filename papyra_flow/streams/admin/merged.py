"""Entries of several streams, such as the partitions of one, in the order of their ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from papyra_flow.records.entries import Entry, id_before, parse_id
from papyra_flow.streams.connection.client import Client, Reply
from papyra_flow.streams.groups.reading import entries_of


class Merged:
    """Reads streams from the oldest entry on; each `read` goes on where the one before it ended."""

    def __init__(self, client: Client, keys: Sequence[str], start: str) -> None:
        """`start` is an id, or `(` and one to begin after it."""
        self._client = client
        self._from = dict.fromkeys(keys, start)
        self._waiting: dict[str, list[Entry]] = {key: [] for key in keys}
        self._more = dict.fromkeys(keys, True)
        """Whether a stream had as much as was asked for, so that there may be more behind it."""

    async def begin_at_the_end(self) -> None:
        """Leave out what is there."""
        for key in self._from:
            reply = await self._client.call("XREVRANGE", key, "+", "-", "COUNT", 1)
            self._from[key] = _behind(reply, "0")

    async def read(self, size: int) -> list[Entry]:
        """The next entries, some `size` of each stream; none where nothing is there."""
        asked = [key for key, waiting in self._waiting.items() if not waiting]
        replies = await self._client.call_many([("XRANGE", key, self._from[key], "+", "COUNT", size) for key in asked])
        for key, reply in zip(asked, replies, strict=True):
            if isinstance(reply, Exception):
                raise reply
            self._waiting[key] = entries_of([[key.encode(), reply]])
            self._more[key] = isinstance(reply, list) and len(reply) == size
            self._from[key] = _behind(reply[-1:] if isinstance(reply, list) else None, self._from[key])
        return self._taken()

    async def wait(self, size: int, *, seconds: float) -> None:
        """Wait until there is something to read."""
        after = [at[1:] if at.startswith("(") else id_before(at) for at in self._from.values()]
        block = int(seconds * 1000)
        await self._client.call("XREAD", "COUNT", size, "BLOCK", block, "STREAMS", *self._from, *after)

    def _taken(self) -> list[Entry]:
        """What no entry that is still to be read can come before; of the same id, in the order of the streams."""
        waiting = self._waiting
        ends = [parse_id(waiting[key][-1].id) for key, more in self._more.items() if more and waiting[key]]
        taken: list[Entry] = []
        for key, entries in waiting.items():
            cut = bisect_right(entries, min(ends), key=_number) if ends else len(entries)
            taken += entries[:cut]
            waiting[key] = entries[cut:]
        return sorted(taken, key=_number)


async def newest(client: Client, keys: Sequence[str], count: int, *, end: str = "+") -> list[Entry]:
    """The newest entries of all streams up to `end`, the newest first: `count`, and those with the id of the last."""
    replies = await client.call_many([("XREVRANGE", key, end, "-", "COUNT", count) for key in keys])
    found: list[Entry] = []
    for key, reply in zip(keys, replies, strict=True):
        if isinstance(reply, Exception):
            raise reply
        found += entries_of([[key.encode(), reply]])
    found.sort(key=_number, reverse=True)
    while count < len(found) and found[count].id == found[count - 1].id:
        count += 1
    return found[:count]


def _number(entry: Entry) -> tuple[int, int]:
    return parse_id(entry.id)


def _behind(reply: Reply, otherwise: str) -> str:
    """Behind the one entry of a reply."""
    return f"({reply[0][0].decode()}" if isinstance(reply, list) and reply else otherwise
