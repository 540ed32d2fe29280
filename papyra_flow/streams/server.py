"""A server: its address, its connections, and what it is able to do.

Addresses are redis-py's URLs (redis://, rediss://, unix://) and
`redis+sentinel://[user:password@]host:port,host:port/master[/db]`. Minimum servers are Redis 7.0 and Valkey
7.2, because the commit script starts with `#!lua`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any  # the keyword arguments of redis-py, which are of all types
from urllib.parse import unquote, urlsplit, urlunsplit

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from papyra_flow.errors import ServerTooOldError, UsageError
from papyra_flow.streams.wire import Wire

MINIMUM = {"redis": (7, 0), "valkey": (7, 2)}
SENTINEL_SCHEME = "redis+sentinel"
SCHEMES = ("redis", "rediss", "unix", SENTINEL_SCHEME)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server said of itself: its flavour (`redis` or `valkey`), version, and whether it is a cluster."""

    flavour: str
    version: tuple[int, ...]
    cluster: bool

    def __str__(self) -> str:
        return f"{self.flavour.capitalize()} {'.'.join(map(str, self.version))}"


class Server:
    """Connections to one server address. Nothing connects before the first command."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = _pool(url)
        self.wire = Wire(self._pool)

    @property
    def shown(self) -> str:
        """The address without its password."""
        return redacted(self.url)

    def new_wire(self) -> Wire:
        """A connection of one's own, for reads that block."""
        return Wire(self._pool)

    async def check(self) -> Capabilities:
        """What the server is able to do; raises ServerTooOldError below the minimum, ServerUnreachableError."""
        reply = await self.wire.call("INFO", "server", timeout=10)
        capabilities = parse_capabilities(reply.decode() if isinstance(reply, bytes) else "")
        minimum = MINIMUM[capabilities.flavour]
        if capabilities.version < minimum:
            raise ServerTooOldError(
                f"{self.shown} is {capabilities}; papyra-flow needs Redis 7.0 or Valkey 7.2, or newer"
            )
        return capabilities

    async def close(self) -> None:
        """Close the shared connection."""
        await self.wire.close()
        await self._pool.disconnect()


def parse_capabilities(info: str) -> Capabilities:
    """Read the `server` section of INFO (https://redis.io/docs/latest/commands/info/)."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line and not line.startswith("#"))
    flavour = "valkey" if "valkey_version" in fields else "redis"
    text = fields.get("valkey_version") or fields.get("redis_version", "0")
    version = tuple(int(part) for part in text.split(".") if part.isdigit())
    return Capabilities(flavour, version, fields.get("redis_mode", fields.get("server_mode")) == "cluster")


def redacted(url: str) -> str:
    """An address that may be shown: the password, and secrets in the query, replaced."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and not parts.netloc:
        return f"unix://{parts.path}"
    netloc = parts.netloc
    if "@" in netloc:
        login, _, hosts = netloc.rpartition("@")
        netloc = f"{login.partition(':')[0]}:***@{hosts}" if ":" in login else f"{login}@{hosts}"
    query = "&".join(
        f"{item.partition('=')[0]}=***" if "password" in item.partition("=")[0].lower() else item
        for item in parts.query.split("&")
        if item
    )
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _pool(url: str) -> ConnectionPool:
    options: dict[str, Any] = {
        "protocol": 2,  # one shape of replies on every server
        "retry": Retry(NoBackoff(), 0),  # a repeated XADD writes twice
        "socket_timeout": None,  # `Wire` times its replies itself
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "client_name": "papyra-flow",
    }
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise UsageError(f"{redacted(url)!r} is no address of a server: expected {known} or embedded")
    try:
        if scheme == SENTINEL_SCHEME:
            return _sentinel_pool(url, options)
        if scheme == "unix":
            del options["socket_keepalive"]
        return ConnectionPool.from_url(url, **options)
    except (ValueError, TypeError) as exc:
        raise UsageError(f"{redacted(url)!r} is no address of a server: {exc}") from exc


def _sentinel_pool(url: str, options: dict[str, Any]) -> ConnectionPool:
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    master, _, database = parts.path.strip("/").partition("/")
    if not master or not hosts:
        raise ValueError("expected redis+sentinel://host:port,host:port/master")
    addresses = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":")
        addresses.append((name, int(port)) if name else (port, 26379))
    credentials: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        addresses, sentinel_kwargs={"socket_timeout": 5, "socket_connect_timeout": 5}
    )
    client = sentinel.master_for(master, db=int(database or 0), **credentials, **options)
    pool: ConnectionPool = client.connection_pool
    return pool
