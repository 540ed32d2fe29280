"""Where tables go: a table is cut by the routes' conditions, and each piece leaves in its stream's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from papyra_flow.errors import RecordError
from papyra_flow.expressions.columns.vectorised import TableExpression
from papyra_flow.records.entries import DATA, Record, encode_fields, encode_json, refuse_large
from papyra_flow.records.headers import Headers
from papyra_flow.records.table_rows import records_of
from papyra_flow.records.tables import encoded_parts
from papyra_flow.runtime.stage.results import NO_STREAMS
from papyra_flow.runtime.stage.router import Emitted, beside_fields, named
from papyra_flow.streams.commit.commit import refuse_wide
from papyra_flow.topology.model import RouteSpec, StreamSpec

if TYPE_CHECKING:
    from papyra_flow.runtime.stage.tables import Part


@dataclass(slots=True)
class Routed:
    """What leaves: entries for targets, how many rows that is for each, and how many were dropped."""

    entries: list[Emitted] = field(default_factory=list)
    rows: Counter[int] = field(default_factory=Counter)
    dropped: int = 0
    records: list[Record] = field(default_factory=list)
    """For a sink, which writes records: the rows themselves, in place of entries."""


class TableRouter:
    """A stage's routes for tables; targets are counted from 0 in the order of `targets`, none of them for a sink."""

    def __init__(
        self,
        routes: Sequence[RouteSpec],
        match: Literal["first", "all"],
        targets: Sequence[StreamSpec],
        max_record: int,
    ) -> None:
        self._index = {target.name: index for index, target in enumerate(targets)}
        self._formats = [target.config.format for target in targets]
        self._routes = [
            (self._index[route.stream], TableExpression(route.when) if route.when else None) for route in routes
        ]
        self._copy_all = match == "all"
        self._max_record = max_record

    def route(self, parts: Iterable[Part], headers: Mapping[bytes, bytes]) -> Routed:
        """All that the parts of one entry become; raises RecordError for what cannot leave."""
        routed = Routed()
        for table, note in parts:
            to, added = note or (None, None)
            carried = {**headers, **(added or {})}
            if not self._formats and note is not None:
                raise RecordError(NO_STREAMS)
            if not self._formats:
                routed.records += records_of(table)
            elif to is not None:
                self._put(routed, named(self._index, to), table, carried, added or {})
            elif self._copy_all:
                self._to_all(routed, table, carried, added or {})
            else:
                self._to_first(routed, table, carried, added or {})
        return routed

    def _to_first(
        self, routed: Routed, table: pa.Table, headers: Mapping[bytes, bytes], added: Mapping[bytes, bytes]
    ) -> None:
        """Each row goes to the first route that it fits; the ones behind are not asked about it."""
        asked = Headers.of(headers)
        for target, when in self._routes:
            if when is None:
                self._put(routed, target, table, headers, added)
                return
            mask = when.mask(table, asked)
            self._put(routed, target, table.filter(mask), headers, added)
            table = table.filter(pc.invert(mask))
        routed.dropped += table.num_rows

    def _to_all(
        self, routed: Routed, table: pa.Table, headers: Mapping[bytes, bytes], added: Mapping[bytes, bytes]
    ) -> None:
        asked = Headers.of(headers)
        missed = pa.repeat(pa.scalar(True), table.num_rows)
        for target, when in self._routes:
            mask = when.mask(table, asked) if when is not None else pa.repeat(pa.scalar(True), table.num_rows)
            self._put(routed, target, table.filter(mask), headers, added)
            missed = pc.and_(missed, pc.invert(mask))
        routed.dropped += pc.sum(missed).as_py() or 0

    def _put(
        self,
        routed: Routed,
        target: int,
        table: pa.Table,
        headers: Mapping[bytes, bytes],
        added: Mapping[bytes, bytes],
    ) -> None:
        """The rows for a target, with headers, among them those that a step has `added`."""
        if not table.num_rows:
            return
        flat = _flat(headers)
        if added:
            refuse_large(sum(map(len, flat)), self._max_record)
            refuse_wide([DATA, b"", *flat])
        if self._formats[target] == "arrow":
            routed.entries += [(target, [DATA, data, *flat]) for data in encoded_parts(table, self._max_record)]
        else:
            for record in records_of(table):
                fields = self._fields(target, record)
                beside = dict(headers)
                if self._formats[target] == "fields":
                    beside = beside_fields(fields, beside, added)
                routed.entries.append((target, [*fields, *_flat(beside)]))
        routed.rows[target] += table.num_rows

    def _fields(self, target: int, record: Record) -> list[bytes]:
        fields = encode_fields(record) if self._formats[target] == "fields" else [DATA, encode_json(record)]
        refuse_large(sum(map(len, fields)), self._max_record)
        return fields


def _flat(headers: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for header in headers.items() for part in header]
