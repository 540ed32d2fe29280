"""Addresses of servers, and pools that make connections to them.

redis://, rediss:// and unix:// are redis-py's own URLs. `redis+sentinel://HOST:PORT,HOST:PORT/MASTER[/DB]` asks
sentinels for the master, `redis+cluster://HOST:PORT,HOST:PORT` asks a cluster for the node that has a slot
(`cluster`); with `rediss+` both are spoken to over TLS. User and password stand before the hosts, redis-py's
options in the query.
"""

from __future__ import annotations

from typing import Any  # the keyword arguments of redis-py, which are of all types
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from redis.asyncio.connection import ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from papyra_flow.errors import UsageError

SENTINEL_PORT = 26379
REDIS_PORT = 6379
PLAIN = ("redis", "rediss", "unix")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")
SCHEMES = (*PLAIN, *SENTINEL, *CLUSTER)


def names_cluster(url: str) -> bool:
    """Whether an address is that of a cluster, whose keys have to lie in one slot to be used together."""
    return url.partition("://")[0].lower() in CLUSTER


def redacted(url: str) -> str:
    """An address that may be shown: the password, and secrets in the query, replaced.

    Of one that is not well formed only the scheme is shown: where its password ends is unknown.
    """
    try:
        parts = _split(url)
    except ValueError:
        scheme, found, _ = url.partition("://")
        return f"{scheme}://***" if found else "***"
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


def pool_of(url: str, key: str) -> ConnectionPool:
    """What makes connections to an address; of a cluster, to whichever node has the slot of `key`.

    Raises UsageError for what is not one.
    """
    try:
        parts = _split(url)
    except ValueError as exc:
        raise UsageError(f"{redacted(url)} is not a server address: {exc}") from None
    if parts.scheme not in SCHEMES or ("://" not in url and parts.scheme != "unix"):  # `redis:host` would be localhost
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise UsageError(f"{redacted(url)!r} is not a server address: expected {known} or embedded")
    options: dict[str, Any] = {
        "protocol": 2,  # one shape of replies on every server
        "retry": Retry(NoBackoff(), 0),  # a repeated XADD writes twice
        "socket_timeout": None,  # `Wire` times its replies itself
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "client_name": "papyra-flow",
    }
    try:
        if parts.scheme in SENTINEL:
            return _sentinel_pool(parts, options)
        if parts.scheme in CLUSTER:
            from papyra_flow.streams.connection.cluster import ClusterPool

            if parts.path.strip("/") not in {"", "0"}:
                raise ValueError("a cluster has no databases")
            return ClusterPool(_hosts(parts, REDIS_PORT), key, tls=_is_tls(parts), **{**options, **_given(parts)})
        if parts.scheme == "unix":
            del options["socket_keepalive"]
        return ConnectionPool.from_url(url, **options)
    except (ValueError, TypeError) as exc:
        raise UsageError(f"{redacted(url)!r} is not a server address: {exc}") from exc


def _split(url: str) -> SplitResult:
    """An address in its parts; raises ValueError, without a piece of it, where it cannot be told what they are.

    A `/`, `?`, `#` or `@` within user or password ends what urlsplit takes for them (RFC 3986, 3.2).
    """
    encode = "percent-encode @ / ? # [ ] in user, password and options (@ is %40, / is %2F, # is %23)"
    scheme, _, rest = url.partition("://")
    before, found, _ = rest.rpartition("@")
    if found and not rest.startswith("/") and any(mark in before for mark in "/?#@"):
        raise ValueError(encode)
    if scheme.lower() in SCHEMES and "#" in rest:
        raise ValueError(encode)
    try:
        return urlsplit(url)
    except ValueError:  # its message may have a piece of the password
        raise ValueError(encode) from None


def _sentinel_pool(parts: SplitResult, options: dict[str, Any]) -> ConnectionPool:
    master, _, database = parts.path.strip("/").partition("/")
    if not master or not parts.netloc:
        raise ValueError("expected redis+sentinel://host:port,host:port/master")
    given = _given(parts)
    asking: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 5}
    for name in ("username", "password"):
        if (value := given.pop(f"sentinel_{name}", None)) is not None:
            asking[name] = value
    if _is_tls(parts):
        tls = {"ssl": True, **{name: value for name, value in given.items() if name.startswith("ssl_")}}
        asking |= tls
        given |= tls
    sentinel = Sentinel(_hosts(parts, SENTINEL_PORT), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    pool: ConnectionPool = sentinel.master_for(master, **{**options, "db": int(database or 0), **given}).connection_pool
    return pool


def _is_tls(parts: SplitResult) -> bool:
    return parts.scheme.startswith("rediss")


def _hosts(parts: SplitResult, default: int) -> list[tuple[str, int]]:
    """The hosts of an address and their ports; an IPv6 address stands in brackets."""
    found: list[tuple[str, int]] = []
    for host in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{host}")
        if not one.hostname:
            raise ValueError("a host is missing")
        found.append((one.hostname, one.port or default))
    return found


def _given(parts: SplitResult) -> dict[str, Any]:
    """User, password and what redis-py makes of the options in the query."""
    found: dict[str, Any] = dict(parse_url(f"redis://?{parts.query}"))
    login = parts.netloc.rpartition("@")[0]
    user, _, password = login.partition(":")
    if user:
        found["username"] = unquote(user)
    if password:
        found["password"] = unquote(password)
    return found
