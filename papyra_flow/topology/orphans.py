"""What a pipeline has on its server that its file no longer knows: after a stage or a stream was renamed or removed.

A group that no stage has keeps its stream from being trimmed; records in a stream that no stage reads are stuck.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from papyra_flow.errors import ServerError
from papyra_flow.streams.connection.addresses import names_cluster
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.snapshot import StreamPosition, StreamsSnapshot, look
from papyra_flow.topology.model import Topology
from papyra_flow.topology.streams import StreamSpec

_OF_STAGES = ("@source:", "@sink:", "@owner:", "@owners:", "@state:", "@timers:")
"""How the names of keys begin that a stage has beside its streams."""

SCANS = 50
"""Calls of SCAN, a thousand keys each, that looking for keys before a run may take."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A group, a stream, dead letters or bookkeeping that is not in the file."""

    kind: Literal["group", "stream", "dead", "bookkeeping"]
    key: str
    name: str
    """The stream as a verb takes it: its name in the file, or its key."""
    group: str = ""
    length: int = 0
    """Entries of the stream; for a group, those that it has not read."""
    pending: int = 0
    of_others: bool = False
    """Whether the group's name says that it is another pipeline's."""

    @property
    def holds_records(self) -> bool:
        """Whether there is something in it that is not processed, or will be."""
        return self.kind != "bookkeeping"

    def __str__(self) -> str:
        if self.kind == "group":
            return (
                f"no stage in the file has the group {self.group!r} on {self.key}, which has {_entries(self.length)} "
                f"not read and {self.pending:,} pending, and keeps them from being trimmed"
            )
        if self.kind == "dead":
            return f"{self.key} has {_entries(self.length)} that are dead letters of a stage that is not in the file"
        if self.kind == "stream":
            return f"{self.key} has {_entries(self.length)}, but that stream is not in the file"
        if "}:@state:" in self.key:
            return f"{self.key} is state of a stage that is not in the file, or keeps none there any more"
        return f"{self.key} is left over from a stage or stream that is not in the file"

    @property
    def hint(self) -> str:
        """What to do about it."""
        group = f"{shlex.quote(self.name)} {shlex.quote(self.group)}"
        return {
            "group": f"if no other program uses it, run `papyra-flow drop-group FILE {group}`",
            "dead": "add that stage to the file again to replay them, or delete the key",
            "stream": "add a stage that reads it to the file, or delete the key",
            "bookkeeping": "delete the key if you no longer need the stage",
        }[self.kind]


def orphans(topology: Topology, positions: StreamsSnapshot, keys: Iterable[str] = ()) -> list[Orphan]:
    """What is not in the file: groups on its streams, and those of `keys` that `positions` tell of as well."""
    found = [
        orphan
        for stream in topology.streams.values()
        if stream.key in positions.streams
        for orphan in _groups(topology, stream, positions.streams[stream.key])
    ]
    unknown = sorted(set(keys) - known_keys(topology))
    return found + [orphan for key in unknown if (orphan := _key(key, positions.streams.get(key))) is not None]


async def find_orphans(server: Server, topology: Topology, *, scans: int | None = None) -> list[Orphan]:
    """Ask the server for them; `scans` limits how long it looks for keys, which it does not where it may not.

    Raises ServerErrors.
    """
    try:
        keys = await keys_of(server, topology, scans=scans)
    except ServerError:
        keys = []
    unknown = [key for key in keys if key not in known_keys(topology)]
    positions = await look(server.client, list(dict.fromkeys([*(s.key for s in topology.streams.values()), *unknown])))
    return orphans(topology, positions, keys)


def known_keys(topology: Topology) -> set[str]:
    """All keys of the pipeline and its partitions that its file accounts for."""
    keys = topology.keys
    known = {stream.key for stream in topology.streams.values()} | set(topology.leases)
    known |= {stage.dead_key for stage in topology.stages.values()}
    known |= {key for name in topology.stages for key in (keys.parts(name), keys.later(name))}
    for stage in topology.stages.values():
        if stage.owned:
            known.add(keys.owners(stage.name))
            known |= {key for one in topology.partitions(stage) for key in (one.lease, one.state, one.timers)}
    return known | {keys.applied, keys.workers, keys.paused, keys.ledger, keys.destroyed}


async def keys_of(server: Server, topology: Topology, *, scans: int | None = None) -> list[str]:
    """All keys of the pipeline and its partitions, by SCAN (https://redis.io/docs/latest/commands/scan/); none if that
    would take more than `scans` calls.
    """
    keys, found = topology.keys, set[str]()
    # On a cluster, where there are no partitions, the plain pattern lets a server look through one slot only.
    pattern = keys.pattern if names_cluster(topology.redis) else keys.wide_pattern
    cursor = b"0"
    while scans is None or scans > 0:
        reply = await server.client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        if not isinstance(reply, list):
            return sorted(found)
        cursor = reply[0]
        found.update(filter(keys.owns, (key.decode(errors="replace") for key in reply[1])))
        if cursor == b"0":
            return sorted(found)
        scans = None if scans is None else scans - 1
    return []


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _groups(topology: Topology, stream: StreamSpec, position: StreamPosition) -> Iterable[Orphan]:
    ours = {topology.stages[name].group for name in stream.readers}
    own = f"{topology.pipeline}."
    for name, at in position.groups.items():
        if name in ours or (stream.external and not name.startswith(own)):
            continue
        of_others = "." in name and not name.startswith(own)
        yield Orphan(
            "group", stream.key, stream.key if stream.internal else stream.name, name, at.lag, at.pending, of_others
        )


def _key(key: str, position: StreamPosition | None) -> Orphan | None:
    _, _, name = key.partition("}:")
    length = position.length if position is not None and position.kind == "stream" else 0
    if name.startswith("@dead:"):
        return Orphan("dead", key, key, length=length) if length else None
    if name.startswith("@"):
        return Orphan("bookkeeping", key, key) if name.startswith(_OF_STAGES) else None
    return Orphan("stream" if length else "bookkeeping", key, key, length=length)
