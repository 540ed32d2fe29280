"""A server: its connections, and what it is able to do.

Minimum servers are Redis 7.0 and Valkey 7.2, because the commit script starts with `#!lua`.
"""

from __future__ import annotations

from dataclasses import dataclass

from papyra_flow.errors import ServerTooOldError, UsageError
from papyra_flow.streams.connection.addresses import names_cluster, pool_of, redacted
from papyra_flow.streams.connection.append_only import AppendOnlyGuard
from papyra_flow.streams.connection.client import Client, Pool

MINIMUM = {"redis": (7, 0), "valkey": (7, 2)}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server said of itself: its flavour (`redis` or `valkey`), version, and whether it is a cluster."""

    flavour: str
    version: tuple[int, ...]
    cluster: bool

    def __str__(self) -> str:
        return f"{self.flavour.capitalize()} {'.'.join(map(str, self.version))}"


class Server:
    """Connections to one server address. Nothing connects before the first command.

    `key` is any of the keys that are spoken of: a cluster's address leads to the node that has its slot.
    """

    def __init__(self, url: str, *, key: str = "", rewrite_below: int | None = None, pool: Pool | None = None) -> None:
        """`rewrite_below` is for commits (`append_only`); `pool` makes connections in place of the usual."""
        self.url = url
        self._given = pool
        self._pool: Pool = pool or pool_of(url, key)
        self._guard = AppendOnlyGuard(rewrite_below) if rewrite_below is not None else None
        self.client = self.new_wire()

    @property
    def shown(self) -> str:
        """The address without its password."""
        return redacted(self.url)

    def new_wire(self) -> Client:
        """A connection of one's own, for reads that block."""
        return Client(self._pool, greet=self._guard)

    def apart(self, key: str) -> Server:
        """The same server over connections of its own, as a thread with another event loop needs them."""
        return Server(self.url, key=key, pool=self._given)

    async def check(self) -> Capabilities:
        """What the server is able to do.

        Raises ServerTooOldError below the minimum, UsageError for a cluster by the address of one node, and
        ServerErrors.
        """
        reply = await self.client.call("INFO", "server", timeout=10)
        capabilities = parse_capabilities(reply.decode() if isinstance(reply, bytes) else "")
        minimum = MINIMUM[capabilities.flavour]
        if capabilities.version < minimum:
            raise ServerTooOldError(
                f"{self.shown} is {capabilities}; papyra-flow needs Redis 7.0 or Valkey 7.2, or newer"
            )
        if capabilities.cluster and not names_cluster(self.url):
            raise UsageError(f"{self.shown} is a node of a cluster: give the cluster as redis+cluster://HOST:PORT")
        return capabilities

    async def close(self) -> None:
        """Close the shared connection."""
        await self.client.close()
        await self._pool.disconnect()


def parse_capabilities(info: str) -> Capabilities:
    """Read the `server` section of INFO (https://redis.io/docs/latest/commands/info/)."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line and not line.startswith("#"))
    flavour = "valkey" if "valkey_version" in fields else "redis"
    text = fields.get("valkey_version") or fields.get("redis_version", "0")
    version = tuple(int(part) for part in text.split(".") if part.isdigit())
    return Capabilities(flavour, version, fields.get("redis_mode", fields.get("server_mode")) == "cluster")
