"""The state of a keyed stage, a page at a time: keys, windows and values as a person reads them.

HSCAN (https://redis.io/docs/latest/commands/hscan/) looks through it in small portions, so that a page costs the server
the same however much there is. What changes meanwhile may be seen twice, or as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError, UndecodableError, UsageError
from papyra_flow.records.json_codec import read_json
from papyra_flow.state.event_time import iso_time
from papyra_flow.state.fields import canonical, key_text, partition_of, parts_of
from papyra_flow.steps.keyed import Keyed
from papyra_flow.streams.admin.permissions import literal
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.keyed import key_of, keyed_of, places_in_key
from papyra_flow.topology.model import StageSpec, Topology

PORTION = 100
"""Fields that a command looks at."""
MOST_PORTIONS = 1000
"""Commands that a page may take: the next one goes on from there."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A field of state: its key, what stands behind the key, and its value."""

    partition: int
    key: list[Any]
    rest: list[Any]
    """A side of a join, a name, or a window's start where that has no time of its own."""
    window_start: str | None
    value: Any

    def as_json(self) -> dict[str, object]:
        """The entry under the names of `state --json`."""
        more: dict[str, object] = {"rest": self.rest} if self.rest else {}
        if self.window_start is not None:
            more["window_start"] = self.window_start
        return {"partition": self.partition, "key": self.key, **more, "value": self.value}


@dataclass(slots=True)
class StatePage:
    """Entries, and where the next page begins; None where there is nothing left."""

    entries: list[StateEntry] = field(default_factory=list)
    next: str | None = None


async def read_state(
    server: Server, topology: Topology, stage: StageSpec, *, key: str | None, count: int, start: str | None = None
) -> StatePage:
    """Some `count` entries of a stage's state, or those of one key; raises ServerErrors, and UsageError for `start`."""
    keyed = keyed_of(topology, stage)
    partitions = topology.partitions(stage)
    number, cursor = _place(start, len(partitions))
    wanted = _keys(key) if key is not None else []
    numbers = {one for parts in wanted for one in _partitions(topology, stage, keyed, parts)} or set(range(256))
    pattern = _pattern(wanted)
    page, portions = StatePage(), MOST_PORTIONS
    for at in range(number, len(partitions)):
        if at not in numbers:
            continue
        while True:
            reply = await server.client.call("HSCAN", partitions[at].state, cursor, "MATCH", pattern, "COUNT", PORTION)
            following, flat = reply if isinstance(reply, list) else (b"0", [])
            found = [_entry(at, name, text, keyed) for name, text in zip(flat[::2], flat[1::2], strict=True)]
            page.entries += [one for one in found if not wanted or _has(one, wanted)]
            cursor, portions = following.decode(), portions - 1
            full = len(page.entries) >= count or portions <= 0
            if full and (cursor != "0" or at + 1 < len(partitions)):
                page.next = f"{at}:{cursor}" if cursor != "0" else f"{at + 1}:0"
                return page
            if cursor == "0":
                break
    return page


def _place(start: str | None, partitions: int) -> tuple[int, str]:
    number, _, cursor = (start or "0:0").partition(":")
    if not (number.isdecimal() and cursor.isdecimal() and int(number) < partitions):
        raise UsageError(f"--from: {start!r} is not what a page said to go on from")
    return int(number), cursor


def _keys(text: str) -> list[list[Any]]:
    """The keys that a word of the command line may be: an array is its parts, `5` is a number or text."""
    try:
        value = read_json(text.encode())
    except (UndecodableError, UnicodeEncodeError):
        return [[text]]
    if isinstance(value, list):
        return [value]
    return [[value]] if isinstance(value, str | dict) else [[value], [text]]


def _pattern(wanted: Sequence[list[Any]]) -> bytes:
    """A glob for the fields of these keys; what else it matches is left out by its key."""
    texts = [b",".join(map(canonical, parts)) for parts in wanted]
    if len(texts) == 1:
        return b"[[]" + literal(texts[0].decode()).encode() + b"*"
    return b"*"


def _has(entry: StateEntry, wanted: Sequence[list[Any]]) -> bool:
    """Whether an entry is of one of these keys, of which `true` is not 1."""
    return any(entry.key == parts and list(map(type, entry.key)) == list(map(type, parts)) for parts in wanted)


def _partitions(topology: Topology, stage: StageSpec, keyed: Keyed | None, parts: list[Any]) -> list[int]:
    """The partitions that a key may be in."""
    every = list(range(len(stage.partitions)))
    stream = topology.named[stage.config.from_[0]] if stage.config.from_ else None
    if keyed is None or stream is None or stream.partitions is None:
        return every
    places = places_in_key(stream.spec.config.by, key_of(keyed, stream.name))
    if places is None or max(places) >= len(parts):
        return every
    values = [parts[place] for place in places]
    try:
        return [partition_of(key_text(values[0] if len(values) == 1 else values), len(every))]
    except RecordError:
        return every


def _entry(partition: int, name: bytes, text: bytes, keyed: Keyed | None) -> StateEntry:
    try:
        parts = parts_of(name)
    except UndecodableError:
        parts = [name.decode(errors="replace")]
    try:
        value = read_json(text)
    except UndecodableError:
        value = text.decode(errors="replace")
    sides = list(keyed.partition_by_stream.values()) if keyed is not None else []
    width = len(parts) if keyed is None else len(sides[0] if sides else keyed.partition_by)
    key, rest = parts[:width], parts[width:]
    window = None
    if keyed is not None and keyed.windows is not None and len(rest) == 1 and isinstance(rest[0], int):
        window, rest = _time(rest[0]), []
    return StateEntry(partition, key, rest, window, value)


def _time(milliseconds: int) -> str:
    try:
        return iso_time(milliseconds)
    except RecordError:
        return str(milliseconds)


def words(entry: StateEntry) -> tuple[str, str]:
    """An entry's key and value for a terminal, cut to what fits."""
    key = ", ".join(part if isinstance(part, str) else canonical(part).decode() for part in entry.key)
    rest = f" {canonical(entry.rest).decode()}" if entry.rest else ""
    return f"{key}{rest}", shown(entry.value)
