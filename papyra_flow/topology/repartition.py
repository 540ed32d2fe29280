"""Whether the file gives a stream other partitions than it has on the server, while there is something in them.

A record stays in the partition that it was put into, and so does what a stage remembers of its key: with another
number of partitions, or another `by`, the next record of that key would go elsewhere. The ledger's hash remembers how
it was (`facts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from papyra_flow.spec.streams import StreamConfig
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.snapshot import StreamPosition, look
from papyra_flow.streams.keys import Keyspace
from papyra_flow.topology.model import Topology
from papyra_flow.topology.streams import NamedStream


class _Shape(NamedTuple):
    """How a stream is divided."""

    total: int
    by: list[str]

    def __str__(self) -> str:
        return f"{self.total} partitions by {', '.join(self.by)}" if self.total > 1 else "no partitions"

    def spaces(self, keys: Keyspace) -> list[Keyspace]:
        """The keys of each partition."""
        return [keys.partition(number) for number in range(self.total)] if self.total > 1 else [keys]


async def repartitioned(client: Client, topology: Topology) -> list[str]:
    """A sentence on every stream that cannot have the partitions that the file gives it; raises ServerErrors."""
    named = [stream for stream in topology.named.values() if _counts(stream)]
    if not named:
        return []
    reply = await client.call("HMGET", topology.keys.ledger, *(_field(stream.name) for stream in named))
    told = reply if isinstance(reply, list) else [None] * len(named)
    # What is not remembered was there before streams could have partitions.
    before = [_Shape(*orjson.loads(text)) if text else _Shape(1, []) for text in told]
    changed = [(stream, was) for stream, was in zip(named, before, strict=True) if was != _shape(stream.spec.config)]
    return [found for stream, was in changed if (found := await _left(client, topology, stream, was))]


def facts(topology: Topology) -> Iterator[str]:
    """What is to be remembered of the partitions, as fields and values of the ledger's hash."""
    for stream in topology.named.values():
        if _counts(stream):
            yield from (_field(stream.name), orjson.dumps(list(_shape(stream.spec.config))).decode())


def _counts(stream: NamedStream) -> bool:
    return not stream.spec.internal and not stream.spec.external


def _field(name: str) -> str:
    return f"partitions {name}"


def _shape(config: StreamConfig) -> _Shape:
    return _Shape(config.total, list(config.by) if config.total > 1 else [])


async def _left(client: Client, topology: Topology, stream: NamedStream, was: _Shape) -> str | None:
    """What there is in a stream's partitions as they were, and how to go on."""
    spaces = was.spaces(topology.keys)
    positions = await look(client, [space.stream(stream.name) for space in spaces])
    records = sum(map(_outstanding, positions.streams.values()))
    states = [space.state(stage) for space in spaces for stage in stream.spec.readers]
    found = await client.call_many([("EXISTS", key) for key in states])
    stages = dict.fromkeys(
        stage for stage, there in zip(list(stream.spec.readers) * len(spaces), found, strict=True) if there == 1
    )
    held = [f"{_records(records)} not processed yet"] if records else []
    held += [f"the state of {stage!r}" for stage in stages]
    if not held:
        return None
    ways = ["drain it with the file as it was"] if records else []
    ways += [f"drop that state (`papyra-flow reset FILE {stage} --state`)" for stage in stages]
    return (
        f"the stream {stream.name!r} has {_shape(stream.spec.config)} in the file, and {was} on the server, with "
        f"{' and '.join(held)}: {' and '.join(ways)}, or give it a new name"
    )


def _records(count: int) -> str:
    return "1 record that is" if count == 1 else f"{count:,} records that are"


def _outstanding(position: StreamPosition) -> int:
    """The backlog of the slowest group; of a stream that no group reads, all that is in it."""
    return max((group.backlog for group in position.groups.values()), default=position.length)
