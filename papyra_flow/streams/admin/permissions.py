"""What a pipeline's user has to be allowed on a server, as rules for ACL SETUSER.

https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/. Commands that a script calls are checked
against its user too, so they are listed here like those that are sent.
"""

from __future__ import annotations

from collections.abc import Iterable

CONNECT = ("auth", "client|id", "client|setname", "client|unblock", "info", "ping", "select")
RUN = (
    "eval", "evalsha", "exists", "get", "hdel", "hget", "hgetall", "hincrby", "hlen", "hmget", "hscan", "hset", "sadd",
    "set", "sismember", "srem", "time", "type", "xack", "xadd", "xautoclaim", "xclaim", "xdel", "xgroup|create",
    "xgroup|delconsumer", "xgroup|setid", "xinfo|consumers", "xinfo|groups", "xinfo|stream",
    "xlen", "xpending", "xrange", "xread", "xreadgroup", "xrevrange", "xtrim", "zadd", "zcard", "zrange",
    "zrem", "zremrangebyscore",
)  # fmt: skip
REWRITE = ("bgrewriteaof",)
"""For having the append-only file rewritten after the server was started (`streams.append_only`)."""

OPERATE = ("memory|usage", "scan", "unlink", "xgroup|destroy")
"""For the verbs that look at a pipeline, repair it or remove it."""

CLUSTER = ("cluster|slots",)
"""For finding the node of a cluster that has the pipeline's slot."""


def rules(
    *, keys: Iterable[str], read_only: Iterable[str] = (), operate: bool = False, cluster: bool = False
) -> list[str]:
    """The rules for a user who may use keys that match `keys`, read those that match `read_only`, and nothing else."""
    commands = sorted(CONNECT + RUN + REWRITE + (OPERATE if operate else ()) + (CLUSTER if cluster else ()))
    return [
        "resetkeys", "resetchannels", "-@all",
        *(f"~{pattern}" for pattern in sorted(set(keys))),
        *(f"%R~{pattern}" for pattern in sorted(set(read_only))),
        *(f"+{command}" for command in commands),
    ]  # fmt: skip


def literal(key: str) -> str:
    """A key as a glob pattern that matches nothing else."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in key)
