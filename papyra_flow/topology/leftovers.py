"""What a changed file leaves behind on the server: groups, dead letters, starts and formats of before.

A run goes on all the same; it says what that means, as `plan` does. The ledger's hash remembers each stream's format,
each group's start and the stages there were (`remember`). What does not live here: what has to be created (`plan`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from papyra_flow.streams.positions import Positions, look
from papyra_flow.streams.wire import Wire
from papyra_flow.topology.model import StreamSpec, Topology


async def leftovers(wire: Wire, topology: Topology) -> list[str]:
    """A sentence on everything that the file does not say as it was; raises ServerErrors."""
    before = await _memory(wire, topology)
    gone = [name for kind, name in map(_split, before) if kind == "stage" and name not in topology.stages]
    letters = {name: topology.keys.dead(name) for name in gone}
    keys = [stream.key for stream in topology.streams.values()]
    removed = [
        key for kind, key in map(_split, before)
        if kind == "format" and key.startswith(topology.keys.stream("")) and key not in keys
    ]  # fmt: skip
    positions = await look(wire, [*keys, *letters.values(), *removed])
    return [
        *_groups(topology, positions),
        *_letters(letters, positions),
        *_removed(removed, positions),
        *_starts(topology, before, positions),
        *_formats(topology, before, positions),
    ]


async def remember(wire: Wire, topology: Topology) -> None:
    """Note how the file is now."""
    facts: list[str] = []
    for stream in topology.streams.values():
        facts += [f"format {stream.key}", stream.config.format]
        for name in stream.readers:
            stage = topology.stages[name]
            facts += [f"start {stream.key} {stage.group}", stage.config.start]
    for name in topology.stages:
        facts += [f"stage {name}", "1"]
    await wire.call("HSET", topology.keys.ledger, *facts)


async def _memory(wire: Wire, topology: Topology) -> dict[str, str]:
    reply = await wire.call("HGETALL", topology.keys.ledger)
    words = [word.decode(errors="replace") for word in reply] if isinstance(reply, list) else []
    return dict(zip(words[::2], words[1::2], strict=True))


def _split(field: str) -> tuple[str, str]:
    kind, _, name = field.partition(" ")
    return kind, name


def _groups(topology: Topology, positions: Positions) -> Iterator[str]:
    """Groups on the pipeline's own streams that no stage has: their entries stay, and are not trimmed."""
    for stream in topology.streams.values():
        ours = {topology.stages[name].group for name in stream.readers}
        if stream.external or stream.replay:
            continue
        for name, group in positions.streams[stream.key].groups.items():
            if name not in ours:
                keeps = ", so nothing that it has not acked is trimmed" if stream.retain != "all" else ""
                yield (
                    f"the group {name!r} on {stream.key} belongs to no stage of the file (renamed or removed?): "
                    f"{group.backlog:,} entries are outstanding there{keeps}; "
                    f"`papyra-flow drop-group FILE {stream.name} {name}` removes it"
                )


def _letters(letters: Mapping[str, str], positions: Positions) -> Iterator[str]:
    for stage, key in letters.items():
        if count := positions.streams[key].length:
            yield (
                f"{count:,} dead letters of {stage!r}, which is no stage of the file any more, are still in {key}: "
                f"`papyra-flow tap FILE {key}` shows them"
            )


def _removed(keys: list[str], positions: Positions) -> Iterator[str]:
    for key in keys:
        position = positions.streams[key]
        if position.kind == "stream" and (count := position.backlog(list(position.groups))):
            yield f"{key} is no stream of the file any more: {count:,} entries there are not processed"


def _starts(topology: Topology, before: Mapping[str, str], positions: Positions) -> Iterator[str]:
    for stream in topology.streams.values():
        for name in stream.readers:
            stage = topology.stages[name]
            was = before.get(f"start {stream.key} {stage.group}")
            there = stage.group in positions.streams[stream.key].groups
            if there and was is not None and was != stage.config.start and not stream.internal:
                yield (
                    f"`start` of {name!r} is {_start(stage.config.start)} now, and was {_start(was)}: its group exists "
                    f"and goes on where it is; `papyra-flow reset FILE {name} --to {_start(stage.config.start)}` "
                    "moves it"
                )


def _formats(topology: Topology, before: Mapping[str, str], positions: Positions) -> Iterator[str]:
    for stream in topology.streams.values():
        was, now = before.get(f"format {stream.key}"), stream.config.format
        outstanding = _outstanding(topology, stream, positions)
        if was is not None and was != now and outstanding:
            yield (
                f"the format of {stream.name!r} is {now} now, and was {was}: {outstanding:,} entries outstanding there "
                "may be of the old format, and be read wrongly or end as dead letters; drain them with "
                f"`format: {was}` first"
            )


def _outstanding(topology: Topology, stream: StreamSpec, positions: Positions) -> int:
    return positions.streams[stream.key].backlog([topology.stages[name].group for name in stream.readers])


def _start(value: str) -> str:
    return {"0": "earliest", "$": "latest"}.get(value, value)
