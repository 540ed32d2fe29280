"""Reading a group's new entries with one blocking command.

XREADGROUP (https://redis.io/docs/latest/commands/xreadgroup/) blocks on a connection of its own; stopping it
is CLIENT UNBLOCK (https://redis.io/docs/latest/commands/client-unblock/) from another one, so that no entry is
delivered to a connection that nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.streams.entries import Entry
from papyra_flow.streams.wire import Reply, Wire


class GroupReader:
    """Reads new entries of one group, on one or more streams, as one consumer."""

    def __init__(self, wire: Wire, control: Wire, *, keys: Sequence[str], group: str, consumer: str) -> None:
        self._wire = wire
        self._control = control
        self._keys = tuple(keys)
        self._command = ("XREADGROUP", "GROUP", group, consumer)
        self._new = (">",) * len(self._keys)
        self._client_id: int | None = None
        self._stopped = False

    async def read(self, count: int, *, block: float) -> list[Entry]:
        """Up to `count` new entries of each stream, waiting up to `block` seconds for the first.

        An empty list when nothing came, or when `stop` was called. Raises GroupGoneError, WrongKeyTypeError,
        ConnectionLostError and the like.
        """
        if self._stopped:
            return []
        milliseconds = max(1, int(block * 1000))
        reply = await self._wire.call(
            *self._command, "COUNT", count, "BLOCK", milliseconds, "STREAMS", *self._keys, *self._new,
            timeout=block + 15,
        )  # fmt: skip
        return entries_of(reply)

    async def identify(self) -> None:
        """Learn the connection's id, so that `stop` can end a read that blocks."""
        reply = await self._wire.call("CLIENT", "ID")
        self._client_id = reply if isinstance(reply, int) else None

    async def stop(self) -> None:
        """End a read that blocks now, and any later one at once; nothing is delivered after that."""
        self._stopped = True
        if self._client_id is not None:
            with suppress(ServerError):
                await self._control.call("CLIENT", "UNBLOCK", self._client_id)

    async def close(self) -> None:
        """Close the reader's own connection."""
        await self._wire.close()


def entries_of(reply: Reply) -> list[Entry]:
    """The entries of an XREADGROUP or XREAD reply, stream by stream."""
    if not isinstance(reply, list):
        return []
    return [Entry(key.decode(), id_, fields) for key, entries in reply for id_, fields in entries if fields]
