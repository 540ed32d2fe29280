"""The streams of a driven pipeline: all entries that were ever in them, and the clock that gives them their ids."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from papyra_flow.errors import UsageError
from papyra_flow.records.entries import CODECS, Entry, Record, parse_id
from papyra_flow.runtime.stage.partitioner import keyed_entries
from papyra_flow.streams.admin.display import rows_in
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import StreamSpec


class Places:
    """All streams of a pipeline by their keys. The clock stands still at the beginning of 1970 until it is moved."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._named = topology.named
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        self.now = 0
        """In milliseconds."""
        self._number = 0

    def entry(self, key: str, fields: Sequence[bytes]) -> Entry:
        """A new entry, which is in no stream yet; ids tell the order in which entries came."""
        self._number += 1
        return Entry(key, b"%d-%d" % (self.now, self._number), fields)

    def add(self, key: str, fields: Sequence[bytes]) -> None:
        """Add an entry to a stream."""
        self._entries[key].append(self.entry(key, fields))

    def put(self, name: str, records: Sequence[Mapping[str, object]]) -> None:
        """Add records to a stream of the file, or to those that a stage's source adds them to; raises UsageError."""
        for parts in self._targets(name):
            for key, fields in keyed_entries(records, parts):
                self.add(key, fields)

    def of(self, key: str) -> Sequence[Entry]:
        """The entries of a stream in Redis."""
        return self._entries[key]

    def entries(self, name: str) -> list[Entry]:
        """The entries of a stream of the file, in the order in which they came; raises UsageError."""
        parts = self._parts(name)
        found = [entry for part in parts for entry in self._entries[part.key]]
        return found if len(parts) == 1 else sorted(found, key=lambda entry: parse_id(entry.id))

    def records(self, name: str) -> list[Record]:
        """The records in them."""
        spec, entries = self._parts(name)[0], self.entries(name)
        if spec.holds_tables:
            return [row for entry in entries for row in rows_in(entry.data) or []]
        decode = CODECS[spec.config.format].decode
        return [decode(entry.fields) for entry in entries]

    def _targets(self, name: str) -> list[Sequence[StreamSpec]]:
        """The streams that records for a stream, or for a stage with a source, go to, each as its partitions."""
        stages = self._topology.stages
        if name in stages:
            stage = stages[name]
            return [self._named[found].parts for found in stage.source_to or self._topology.reads(stage)[:1]]
        if name in self._named:
            return [self._named[name].parts]
        raise UsageError(f"unknown stream or stage {name!r}; there are {names(self._named)} and {names(stages)}")

    def _parts(self, name: str) -> Sequence[StreamSpec]:
        """The partitions of a stream; one of them where it is named itself."""
        if name in self._topology.streams:
            return (self._topology.streams[name],)
        if name not in self._named:
            raise UsageError(f"unknown stream {name!r}; the streams are {names(self._named)}")
        return self._named[name].parts


class Cursor:
    """Where a reader of some streams is: it gets their entries in the order in which they came."""

    def __init__(self, places: Places, keys: Iterable[str]) -> None:
        self._places = places
        self._at = dict.fromkeys(keys, 0)

    def take(self, most: int) -> list[Entry]:
        """The next entries, which are all of one stream; so many at most."""
        waiting = {key: self._places.of(key)[at] for key, at in self._at.items() if at < len(self._places.of(key))}
        if not waiting:
            return []
        numbers = {key: parse_id(entry.id) for key, entry in waiting.items()}
        first = min(numbers, key=lambda key: numbers[key])
        until = min((number for key, number in numbers.items() if key != first), default=(math.inf, math.inf))
        at = self._at[first]
        found = [entry for entry in self._places.of(first)[at : at + most] if parse_id(entry.id) < until]
        self._at[first] += len(found)
        return found


def stage_of(topology: Topology, name: str) -> StageSpec:
    """A stage by its name; raises UsageError."""
    if name not in topology.stages:
        raise UsageError(f"unknown stage {name!r}; the stages are {names(topology.stages)}")
    return topology.stages[name]


def names(known: Iterable[str]) -> str:
    """Names for a message, without what the planner made."""
    return ", ".join(name for name in known if "@" not in name)
