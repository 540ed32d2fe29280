"""Where items go: routes with conditions, formats, headers, and the arguments of the commit.

One pass over a batch turns its items into a `Commit` for each stream read. What does not live here: sending it
(`papyra_flow.streams.commit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from papyra_flow.errors import RecordError, UnknownTargetError
from papyra_flow.runtime.processing import Item, Processed
from papyra_flow.steps.expressions import compile_expression, explain
from papyra_flow.streams.commit import Commit
from papyra_flow.streams.entries import DATA, Entry, Format, Record, encode_fields, encode_json
from papyra_flow.topology.model import RouteSpec, StreamSpec


class Routed:
    """A batch's way out: its commit, and how many records go to each target."""

    __slots__ = ("commit", "counts", "dropped", "entries", "failed")

    def __init__(self, targets: int) -> None:
        self.commit = Commit()
        self.counts = [0] * targets
        self.dropped = 0
        self.entries: list[Entry] = []
        self.failed: dict[Entry, Exception] = {}


class Router:
    """A stage's routes; targets are counted from 0 in the order of `targets`."""

    def __init__(
        self, routes: Sequence[RouteSpec], match: Literal["first", "all"], targets: Sequence[StreamSpec], source: Format
    ) -> None:
        self.names = [target.name for target in targets]
        self._index = {name: index for index, name in enumerate(self.names)}
        self._formats = [target.config.format for target in targets]
        self._copy_all = match == "all"
        self._raw_allowed = source == "json"
        self._routes: list[tuple[int, Callable[[Record], object] | None, str]] = [
            (self._index[route.stream], compile_expression(route.when) if route.when else None, route.when or "")
            for route in routes
        ]
        plain = len(self._routes) == 1 and self._routes[0][1] is None
        self._only = self._routes[0][0] if plain else None

    @property
    def needs_value(self) -> bool:
        """Whether records have to be decoded in order to be routed."""
        return any(when for _, when, _ in self._routes) or "fields" in self._formats or not self._raw_allowed

    def route(self, entries: Sequence[Entry], processed: Processed) -> Routed:
        """The commit for those of the batch's entries that did not fail; further failures are in `failed`."""
        routed = Routed(len(self.names))
        items, failed, count = processed.items, processed.failed, len(processed.items)
        commit, counts = routed.commit, routed.counts
        at = 0
        for entry in entries:
            if failed and entry in failed:
                continue
            first = at
            while at < count and items[at].entry is entry:
                at += 1
            try:
                records = [self._emitted(item, target) for item in items[first:at] for target in self._targets(item)]
            except RecordError as exc:
                routed.failed[entry] = exc
                continue
            routed.entries.append(entry)
            for target, _ in records:
                counts[target] += 1
            if not records:
                routed.dropped += 1
                commit.ack(entry.id)
            elif len(records) == 1 and len(records[0][1]) == 2 and records[0][1][0] == DATA:
                commit.forward(entry.id, records[0][0], records[0][1][1])
            else:
                commit.emit(entry.id, records)
        return routed

    def _targets(self, item: Item) -> Sequence[int]:
        if item.to is not None:
            if item.to not in self._index:
                raise UnknownTargetError(f"a step emitted to {item.to!r}, which the stage's `to` does not name")
            return (self._index[item.to],)
        if self._only is not None:
            return (self._only,)
        found = []
        for target, when, text in self._routes:
            try:
                fits = when is None or when(item.value)
            except Exception as exc:
                raise explain(text)(exc) from exc
            if fits:
                found.append(target)
                if not self._copy_all:
                    break
        return found

    def _emitted(self, item: Item, target: int) -> tuple[int, Sequence[bytes]]:
        entry = item.entry
        if self._formats[target] == "fields":
            fields = encode_fields(item.value)
        elif item.raw and self._raw_allowed and (data := entry.data) is not None:
            fields = [DATA, data]
        elif item.raw and self._raw_allowed:
            return target, list(entry.fields)
        else:
            fields = [DATA, encode_json(item.value)]
        headers = entry.headers if self._raw_allowed else None
        if item.headers:
            headers = {**(headers or {}), **item.headers}
        if headers:
            for name, value in headers.items():
                fields += (name, value)
        return target, fields
