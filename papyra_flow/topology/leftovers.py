"""What a changed file does not change on the server: where groups are, and what entries of before look like.

A run continues anyway, and says what that means, as `plan` does. The ledger's hash remembers each stream's format
and partitions, and each group's start (`remember`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.snapshot import StreamsSnapshot, look
from papyra_flow.topology.model import Topology
from papyra_flow.topology.repartition import facts as partitions
from papyra_flow.topology.streams import StreamSpec


async def leftovers(client: Client, topology: Topology) -> list[str]:
    """A sentence on everything that the file does not say as it was; raises ServerErrors."""
    before = await _memory(client, topology)
    positions = await look(client, [stream.key for stream in topology.streams.values()])
    return [*_starts(topology, before, positions), *_formats(topology, before, positions)]


async def remember(client: Client, topology: Topology) -> None:
    """Note how the file is now."""
    facts = list(partitions(topology))
    for stream in topology.streams.values():
        facts += [f"format {stream.key}", stream.config.format]
        for name in stream.readers:
            stage = topology.stages[name]
            facts += [f"start {stream.key} {stage.group}", stage.config.start]
    await client.call("HSET", topology.keys.ledger, *facts)


async def _memory(client: Client, topology: Topology) -> dict[str, str]:
    reply = await client.call("HGETALL", topology.keys.ledger)
    words = [word.decode(errors="replace") for word in reply] if isinstance(reply, list) else []
    return dict(zip(words[::2], words[1::2], strict=True))


def _starts(topology: Topology, before: Mapping[str, str], positions: StreamsSnapshot) -> Iterator[str]:
    for stream in topology.streams.values():
        for name in stream.readers:
            stage = topology.stages[name]
            was = before.get(f"start {stream.key} {stage.group}")
            there = stage.group in positions.streams[stream.key].groups
            if there and was is not None and was != stage.config.start and not stream.internal:
                yield (
                    f"`start` of {name!r} changed from {_start(was)} to {_start(stage.config.start)}, but its group "
                    f"exists and keeps its position; `papyra-flow reset FILE {name} --to {_start(stage.config.start)}` "
                    "moves it"
                )


def _formats(topology: Topology, before: Mapping[str, str], positions: StreamsSnapshot) -> Iterator[str]:
    for stream in topology.streams.values():
        was, now = before.get(f"format {stream.key}"), stream.config.format
        outstanding = _outstanding(topology, stream, positions)
        if was is not None and was != now and outstanding:
            yield (
                f"the format of {stream.name!r} changed from {was} to {now}: {outstanding:,} entries outstanding there "
                "may be in the old format, and be misread or become dead letters; drain them with "
                f"`format: {was}` first"
            )


def _outstanding(topology: Topology, stream: StreamSpec, positions: StreamsSnapshot) -> int:
    return positions.streams[stream.key].backlog([topology.stages[name].group for name in stream.readers])


def _start(value: str) -> str:
    return {"0": "earliest", "$": "latest"}.get(value, value)
