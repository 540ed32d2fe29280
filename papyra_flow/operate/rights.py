"""Whether a pipeline's user may do on its server what a run does, found out by trying.

A server checks rights before it looks at a command's arguments: so each command is sent in a form that it refuses
anyway, or that changes nothing, and only a refusal for want of rights counts. That works for every user, while ACL
DRYRUN is a right of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from papyra_flow.streams.admin.health import Advice
from papyra_flow.streams.connection.client import Argument
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.connection.server_errors import lacks_right
from papyra_flow.topology.model import StageSpec, Topology

_NO_NUMBER = "x"
Attempt = tuple[Argument, ...]


async def right_findings(server: Server, topology: Topology) -> list[Advice]:
    """What may not be done; raises ServerErrors where the server cannot be reached."""
    attempts = list(_attempts(topology))
    replies = await server.client.call_many(attempts)
    refused: dict[str, list[str]] = defaultdict(list)
    for attempt, reply in zip(attempts, replies, strict=True):
        if lacks_right(reply):
            refused[str(attempt[0])].append(_key_of(attempt))
    if not refused:
        return [Advice("permissions", "ok", "the user has the permissions that a run needs")]
    told = "; ".join(f"{command} on {', '.join(dict.fromkeys(keys))}" for command, keys in refused.items())
    return [
        Advice(
            "permissions",
            "error",
            f"the user may not run: {told}",
            "`papyra-flow acl FILE` prints the permissions it needs",
        )
    ]


def _attempts(topology: Topology) -> Iterator[Attempt]:
    keys = topology.keys
    yield "EVAL", "return 1", 1, keys.probe
    yield "EVALSHA", "0" * 40, 1, keys.probe
    yield "SET", keys.applied, "x", "NO-SUCH-OPTION"
    yield "HINCRBY", keys.workers, "x", _NO_NUMBER
    yield "HGETALL", keys.workers
    yield "HGETALL", keys.paused
    for lease in topology.leases:
        yield "HINCRBY", lease, "x", _NO_NUMBER
        yield "HMGET", lease, "owner"
    for stage in topology.stages.values():
        for name in stage.inputs:
            key = topology.streams[name].key
            yield "XGROUP", "CREATE", key, stage.group, _NO_NUMBER
            yield "XINFO", "GROUPS", key
            yield "XREADGROUP", "GROUP", stage.group, "doctor", "COUNT", _NO_NUMBER, "STREAMS", key, ">"
            yield "XACK", key, stage.group, _NO_NUMBER
            yield "XPENDING", key, stage.group, "-", "+", _NO_NUMBER
            yield "XAUTOCLAIM", key, stage.group, "doctor", _NO_NUMBER, "0"
            yield "XCLAIM", key, stage.group, "doctor", _NO_NUMBER, "0-0"
        if stage.owned:
            yield from _of_owners(topology, stage)
        yield "XADD", stage.dead_key, "NOMKSTREAM", "0-0", "x", "x"  # no entry may have that id
    for stream in topology.streams.values():
        yield "TYPE", stream.key
        if stream.writers:
            yield "XADD", stream.key, "NOMKSTREAM", "0-0", "x", "x"
        if stream.readers and not stream.external:
            yield "XTRIM", stream.key, "MAXLEN", _NO_NUMBER


def _of_owners(topology: Topology, stage: StageSpec) -> Iterator[Attempt]:
    for name in stage.inputs:
        yield "XGROUP", "SETID", topology.streams[name].key, stage.group, _NO_NUMBER
    yield "ZREMRANGEBYSCORE", topology.keys.owners(stage.name), _NO_NUMBER, _NO_NUMBER
    for one in topology.partitions(stage):
        yield "HINCRBY", one.lease, "x", _NO_NUMBER
        yield "HMGET", one.state, "x"
        yield "HLEN", one.state
        yield "HINCRBY", one.state, "x", _NO_NUMBER
        yield "ZADD", one.timers, _NO_NUMBER, "x"
        yield "ZRANGE", one.timers, _NO_NUMBER, _NO_NUMBER


def _key_of(attempt: Attempt) -> str:
    place = {"EVAL": 3, "EVALSHA": 3, "XGROUP": 2, "XINFO": 2, "XREADGROUP": 7}.get(str(attempt[0]), 1)
    return str(attempt[place])
