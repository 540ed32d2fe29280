"""A stream's first and last ids, where they can be had without copying much.

No command names an entry without copying it, and one of 60 MB blocks the server for half a second. So the
ids are only asked for where the stream's memory (MEMORY USAGE: its first and its last node counted for real) shows that
its entries are small.
"""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.streams.connection.client import Client, Reply
from papyra_flow.streams.groups.lag import LARGE_ENTRY
from papyra_flow.streams.groups.snapshot import StreamPosition

SMALL_STREAM = 1024**2
Ends = tuple[str | None, str | None]


async def ends_of(client: Client, streams: Sequence[StreamPosition], sizes: Sequence[int]) -> list[Ends]:
    """The first and last id of each stream of `sizes` bytes; None where there is none, or entries are large."""
    asked = [
        stream
        for stream, size in zip(streams, sizes, strict=True)
        if stream.length and size and (size <= SMALL_STREAM or size <= LARGE_ENTRY * stream.length)
    ]
    replies = await client.call_many([("XINFO", "STREAM", stream.key) for stream in asked])
    found = {stream.key: _ends(reply) for stream, reply in zip(asked, replies, strict=True)}
    return [found.get(stream.key, (None, None)) for stream in streams]


def _ends(reply: Reply | Exception) -> Ends:
    if not isinstance(reply, list):
        return None, None
    facts = dict(zip(reply[::2], reply[1::2], strict=False))
    return _id(facts.get(b"first-entry")), _id(facts.get(b"last-entry"))


def _id(entry: Reply) -> str | None:
    return entry[0].decode() if isinstance(entry, list) and isinstance(entry[0], bytes) else None
