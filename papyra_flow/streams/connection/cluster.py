"""A cluster: connections to the node that has a pipeline's slot, wherever that is just now.

Everything of a pipeline lies in one slot (`keys`), so one node at a time has all of it, and a connection to that
node is all that is needed. Which one it is, is asked before each connection (CLUSTER SLOTS,
https://redis.io/docs/latest/commands/cluster-slots/), of another node each time: one that was cut off from the others
may be wrong for as long as it likes. A node that has lost the slot says so (MOVED, CLUSTERDOWN), which ends the
connection to it (`link`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any  # the keyword arguments of redis-py, which are of all types

from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NotConnectedError

from papyra_flow.streams.keys import slot_of

ANSWER_SECONDS = 5.0
Address = tuple[str, int]


class ClusterPool(ConnectionPool):
    """Makes connections to the node that has the slot of `key`; `seeds` are nodes to ask first."""

    def __init__(self, seeds: Sequence[Address], key: str, *, tls: bool, **options: Any) -> None:
        plain: type[Connection] = SSLConnection if tls else Connection
        managed = _ToOwnerWithTls if tls else _ToOwner
        owner = Owner(seeds, slot_of(key), lambda host, port: plain(host=host, port=port, **options))
        super().__init__(connection_class=managed, owner=owner, **options)


class Owner:
    """Which node has a slot; `make` makes a connection to any node, not yet connected."""

    def __init__(self, seeds: Sequence[Address], slot: int, make: Callable[[str, int], AbstractConnection]) -> None:
        self._seeds = list(seeds)
        self._nodes = self._seeds
        self._slot = slot
        self._make = make

    async def find(self) -> Address:
        """The node, as another node than the last time says; raises redis-py's errors when none does.

        That is so that one that was cut off from the others is not believed for ever.
        """
        last: Exception | None = None
        for asked in list(self._nodes):
            self._nodes = [*self._nodes[1:], asked]
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    ranges = await self._ask(asked)
            except (ResponseError, AuthenticationError):
                raise  # it answers, and refuses: the others would do the same
            except (RedisError, OSError, TimeoutError) as exc:
                last = exc
            else:
                if (found := self._note(ranges, asked)) is not None:
                    return found
                last = NotConnectedError(f"no node of the cluster has the slot {self._slot}")
        raise NotConnectedError(f"no node of the cluster answers: {last or 'in time'}") from last

    async def _ask(self, node: Address) -> object:
        connection = self._make(*node)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("CLUSTER", "SLOTS")
            return await connection.read_response(disable_decoding=True)
        finally:
            with suppress(RedisError, OSError, RuntimeError):
                await connection.disconnect(nowait=True)

    def _note(self, ranges: object, asked: Address) -> Address | None:
        """The slot's node, if one has it; from now on the nodes that there are now are asked, and the seeds."""
        owner: Address | None = None
        there: dict[Address, None] = dict.fromkeys(self._seeds)
        for first, last, *nodes in ranges if isinstance(ranges, list) else ():
            addresses = [_address(node, asked) for node in nodes]
            there |= dict.fromkeys(addresses)
            if first <= self._slot <= last:
                owner = addresses[0]
        in_turn = [*(node for node in self._nodes if node in there), *there]
        self._nodes = [*dict.fromkeys(node for node in in_turn if node != asked), *({asked} & there.keys())]
        return owner


def _address(node: Sequence[Any], asked: Address) -> Address:
    """A node's address; one that does not know its own name has that by which it was asked."""
    host = node[0].decode() if isinstance(node[0], bytes) else node[0]
    return (asked[0] if host in {None, "", "?"} else host), node[1]


class _Managed:
    """What a connection does first: find out where it has to go."""

    def __init__(self, *, owner: Owner, **options: Any) -> None:
        super().__init__(**options)
        self._owner = owner

    async def connect(self) -> None:
        """Connect to the node that has the slot."""
        self.host, self.port = await self._owner.find()
        await super().connect()  # type: ignore[misc]


class _ToOwner(_Managed, Connection):
    """A plain connection."""


class _ToOwnerWithTls(_Managed, SSLConnection):
    """A connection over TLS."""
