"""Reading a group's new entries with one blocking command.

XREADGROUP (https://redis.io/docs/latest/commands/xreadgroup/) blocks on a connection of its own; stopping it
is CLIENT UNBLOCK (https://redis.io/docs/latest/commands/client-unblock/) from another one, so that no entry is
delivered to a connection that is read no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.streams.connection.client import Argument, Client, Receiver, Reply

PATIENCE_SECONDS = 15.0
"""How much longer than it may block a read's reply may take."""


class GroupReader:
    """Reads new entries of one group, on one or more streams, as one consumer."""

    def __init__(self, client: Client, control: Client, *, keys: Sequence[str], group: str, consumer: str) -> None:
        self._client = client
        self._control = control
        self._keys = tuple(keys)
        self._command = ("XREADGROUP", "GROUP", group, consumer)
        self._new = (">",) * len(self._keys)
        self._client_id: int | None = None
        self._known = 0
        self._stopped = False

    async def read(self, count: int, *, block: float) -> list[Batch]:
        """Up to `count` new entries of each stream, waiting up to `block` seconds for the first; a batch a stream.

        An empty list when nothing came, or when `stop` was called. Raises GroupGoneError, WrongKeyTypeError,
        ConnectionLostError and the like.
        """
        if not self._is_known():
            await self.identify()
        if self._stopped:
            return []
        return batches_of(await self._client.call(*self._read(count, block), timeout=block + PATIENCE_SECONDS))

    def begin(self, receiver: Receiver, count: int, *, block: float) -> bool:
        """Send such a read now for a receiver that gets its reply; False, and nothing done, without a connection."""
        return self._is_known() and self._client.begin(
            receiver, *self._read(count, block), timeout=block + PATIENCE_SECONDS
        )

    def _is_known(self) -> bool:
        return self._client.connected and self._known == self._client.connections

    def _read(self, count: int, block: float) -> tuple[Argument, ...]:
        milliseconds = max(1, int(block * 1000))
        return (*self._command, "COUNT", count, "BLOCK", milliseconds, "STREAMS", *self._keys, *self._new)

    async def identify(self) -> None:
        """Learn the connection's id, so that `stop` can end a read that blocks."""
        reply = await self._client.call("CLIENT", "ID")
        self._known = self._client.connections
        self._client_id = reply if isinstance(reply, int) else None

    async def stop(self) -> None:
        """End a read that blocks now, and any later one at once; nothing is delivered after that."""
        self._stopped = True
        if self._client_id is not None:
            with suppress(ServerError):
                await self._control.call("CLIENT", "UNBLOCK", self._client_id)

    async def close(self) -> None:
        """Close the reader's own connection."""
        await self._client.close()


def batches_of(reply: Reply) -> list[Batch]:
    """The new entries of an XREADGROUP reply, a batch for each stream."""
    if not isinstance(reply, list):
        return []
    return [Batch(key.decode(), *zip(*entries, strict=True)) for key, entries in reply if entries]


def entries_of(reply: Reply) -> list[Entry]:
    """The entries of an XREAD or XRANGE reply, stream by stream."""
    if not isinstance(reply, list):
        return []
    return [Entry(key.decode(), id_, fields) for key, entries in reply for id_, fields in entries if fields]
