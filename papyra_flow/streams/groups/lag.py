"""Counting what a group has still before it, where the server does not know its lag.

One entry deleted in the part that a group has not read is enough for that. Entries can only be counted by copying them,
so it is done in slices that hold the server for less than a millisecond (`lua/count.lua`), a few of them at a time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from papyra_flow.errors import CommandRefusedError
from papyra_flow.records.entries import parse_id
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.snapshot import GroupPosition, StreamPosition, StreamsSnapshot
from papyra_flow.streams.scripts import call_script

SLICES = 8
"""Slices that one look may take for a group."""

SLICE = 200
"""Small entries that one slice certainly counts."""

LARGE_ENTRY = 20 * 1024
"""Bytes an entry on average from which on a look does not count: it would copy one of them at least, each time."""


class Counter:
    """Counts for one group of one stream, and remembers what it has counted: each entry is copied once.

    Entries that are deleted after they were counted are still counted until the group has passed them, or stands still.
    """

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = key
        self._pages: deque[tuple[str, int]] = deque()
        self._counted_at = 0
        """The stream's length when its entries were last counted."""
        self._stood = ""
        """Where the group stood at the last look."""
        self._waits: int | None = None
        """The stream's length when an entry was last seen to wait for the group where it stands: while the stream does
        not get shorter, one waits still."""

    async def lag(self, group: GroupPosition, length: int, *, at_most: int) -> int:
        """Entries not delivered to the group yet, counted as far as `at_most`."""
        if group.last_delivered != self._stood:
            self._stood, self._waits = group.last_delivered, None
            if group.exact:
                return group.lag
        elif self._waits is None or length < self._waits:
            # It stands still: what was counted, by us or the server, may have been deleted. Near the end a slice tells.
            counted, _, ended = await count_slice(self._client, self._key, group.last_delivered, at_most)
            self._waits = None if ended else length
            if ended:
                self._pages.clear()
                return counted
            if length < self._counted_at:
                self._pages.clear()
        if group.exact:
            return group.lag
        self._counted_at = length
        while self._pages and parse_id(self._pages[0][0]) <= parse_id(group.last_delivered):
            self._pages.popleft()
        total = sum(count for _, count in self._pages)
        last, ended = self._pages[-1][0] if self._pages else group.last_delivered, False
        while total < at_most and not ended:
            counted, last, ended = await count_slice(self._client, self._key, last, at_most - total)
            if counted:
                self._pages.append((last, counted))
            total += counted
        return min(total, length)


async def count_slice(client: Client, key: str, after: str, at_most: int) -> tuple[int, str, bool]:
    """Count entries after an id for a fraction of a millisecond: how many, the last one's id, whether that is all."""
    reply = await call_script(client, "count", [key], [after, at_most])
    if not isinstance(reply, list) or not isinstance(reply[0], int) or not isinstance(reply[1], bytes):
        raise CommandRefusedError(f"the count script answered {reply!r}")
    return reply[0], reply[1].decode(), reply[2] == 1


async def counted(client: Client, positions: StreamsSnapshot, *, once: bool = False) -> StreamsSnapshot:
    """The positions with those lags counted that the server does not know, or may be wrong about, in a few slices.

    `once`: this look is not repeated every second, so large entries do not keep it from counting.
    """
    doubtful = [s for s in positions.streams.values() if any(group.lag for group in s.groups.values())]
    if not doubtful:
        return positions
    streams = dict(positions.streams)
    for stream in doubtful:
        if once or await _is_small(client, stream):
            groups = {name: await _counted(client, stream, group) for name, group in stream.groups.items()}
            streams[stream.key] = replace(stream, groups=groups)
    return replace(positions, streams=streams)


async def _counted(client: Client, stream: StreamPosition, group: GroupPosition) -> GroupPosition:
    if not group.lag:
        return group
    if group.exact:  # a server may count entries that were trimmed by hand: said where nothing, or little, is left
        few = group.lag if group.lag <= SLICE else 1
        count, _, ended = await count_slice(client, stream.key, group.last_delivered, few + 1)
        return replace(group, lag=count) if ended else group
    total, last = 0, group.last_delivered
    for _ in range(SLICES):
        count, last, ended = await count_slice(client, stream.key, last, stream.length)
        total += count
        if ended:
            return replace(group, lag=total, exact=True)
    return group


async def _is_small(client: Client, stream: StreamPosition) -> bool:
    """Whether the stream's entries are small, as far as its size tells; True where it may not be asked."""
    size = (await client.call_many([("MEMORY", "USAGE", stream.key, "SAMPLES", 1)]))[0]
    return not isinstance(size, int) or size <= LARGE_ENTRY * max(1, stream.length)
