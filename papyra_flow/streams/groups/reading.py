"""Reading new entries with one blocking command: a group's, or those behind a position.

XREADGROUP (https://redis.io/docs/latest/commands/xreadgroup/) and XREAD block on a connection of their own; stopping it
is CLIENT UNBLOCK (https://redis.io/docs/latest/commands/client-unblock/) from another one, so that no entry is
delivered to a connection that is read no more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.streams.connection.client import Argument, Client, Receiver, Reply

PATIENCE_SECONDS = 15.0
"""How much longer than it may block a read's reply may take."""


class BlockingReader(ABC):
    """Reads entries of one or more streams with one blocking command, on a connection of its own."""

    def __init__(self, client: Client, control: Client, keys: Sequence[str]) -> None:
        self._client = client
        self._control = control
        self._keys = tuple(keys)
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
        return self.arrived(await self._client.call(*self._read(count, block), timeout=block + PATIENCE_SECONDS))

    def begin(self, receiver: Receiver, count: int, *, block: float) -> bool:
        """Send such a read now for a receiver that gets its reply; False, and nothing done, without a connection."""
        return self._is_known() and self._client.begin(
            receiver, *self._read(count, block), timeout=block + PATIENCE_SECONDS
        )

    def arrived(self, reply: Reply) -> list[Batch]:
        """The new entries of a read's reply, a batch for each stream."""
        return batches_of(reply)

    def _is_known(self) -> bool:
        return self._client.connected and self._known == self._client.connections

    @abstractmethod
    def _read(self, count: int, block: float) -> tuple[Argument, ...]:
        """The command."""

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


class GroupReader(BlockingReader):
    """Reads new entries of one group, as one of its consumers."""

    def __init__(self, client: Client, control: Client, *, keys: Sequence[str], group: str, consumer: str) -> None:
        super().__init__(client, control, keys)
        self._command = ("XREADGROUP", "GROUP", group, consumer)
        self._new = (">",) * len(self._keys)

    def _read(self, count: int, block: float) -> tuple[Argument, ...]:
        milliseconds = max(1, int(block * 1000))
        return (*self._command, "COUNT", count, "BLOCK", milliseconds, "STREAMS", *self._keys, *self._new)


class CursorReader(BlockingReader):
    """Reads behind a position, which moves with what arrives: nothing becomes pending.

    XREAD (https://redis.io/docs/latest/commands/xread/); a reply that is lost costs nothing, it is asked for again.
    """

    def __init__(self, client: Client, control: Client, positions: Mapping[str, bytes]) -> None:
        super().__init__(client, control, list(positions))
        self._positions = dict(positions)

    def _read(self, count: int, block: float) -> tuple[Argument, ...]:
        milliseconds = max(1, int(block * 1000))
        positions = (self._positions[key] for key in self._keys)
        return ("XREAD", "COUNT", count, "BLOCK", milliseconds, "STREAMS", *self._keys, *positions)

    def arrived(self, reply: Reply) -> list[Batch]:
        """As `BlockingReader.arrived`; the next read begins behind them."""
        batches = batches_of(reply)
        self._positions |= {batch.key: batch.ids[-1] for batch in batches}
        return batches


def batches_of(reply: Reply) -> list[Batch]:
    """The entries of an XREADGROUP or XREAD reply, a batch for each stream."""
    if not isinstance(reply, list):
        return []
    return [Batch(key.decode(), *zip(*entries, strict=True)) for key, entries in reply if entries]


def entries_of(reply: Reply) -> list[Entry]:
    """The entries of an XREAD or XRANGE reply, stream by stream."""
    if not isinstance(reply, list):
        return []
    return [Entry(key.decode(), id_, fields) for key, entries in reply for id_, fields in entries if fields]
