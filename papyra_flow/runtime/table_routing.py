"""Where tables go: a table is cut by the routes' conditions, and each piece leaves in its stream's format.

What does not live here: the steps (`tables`), the commit (`table_delivery`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from papyra_flow.errors import UnknownTargetError
from papyra_flow.expressions.headers import Headers
from papyra_flow.runtime.routing import Emitted
from papyra_flow.steps.vectorised import TableExpression
from papyra_flow.streams.entries import DATA, Record, encode_fields, encode_json, refuse_large
from papyra_flow.streams.table_rows import records_of
from papyra_flow.streams.tables import encoded_parts
from papyra_flow.topology.model import RouteSpec, StreamSpec

if TYPE_CHECKING:
    from papyra_flow.runtime.tables import Part


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
            asked = Headers.of(carried)
            if not self._formats:
                routed.records += records_of(table)
            elif to is not None:
                self._put(routed, self._named(to), table, carried)
            elif self._copy_all:
                self._to_all(routed, table, carried, asked)
            else:
                self._to_first(routed, table, carried, asked)
        return routed

    def _named(self, name: str) -> int:
        if name not in self._index:
            raise UnknownTargetError(f"a step emitted to {name!r}, which the stage's `to` does not name")
        return self._index[name]

    def _to_first(self, routed: Routed, table: pa.Table, headers: Mapping[bytes, bytes], asked: Headers) -> None:
        """Each row goes to the first route that it fits; the ones behind are not asked about it."""
        for target, when in self._routes:
            if when is None:
                self._put(routed, target, table, headers)
                return
            mask = when.mask(table, asked)
            self._put(routed, target, table.filter(mask), headers)
            table = table.filter(pc.invert(mask))
        routed.dropped += table.num_rows

    def _to_all(self, routed: Routed, table: pa.Table, headers: Mapping[bytes, bytes], asked: Headers) -> None:
        missed = pa.repeat(pa.scalar(True), table.num_rows)
        for target, when in self._routes:
            mask = when.mask(table, asked) if when is not None else pa.repeat(pa.scalar(True), table.num_rows)
            self._put(routed, target, table.filter(mask), headers)
            missed = pc.and_(missed, pc.invert(mask))
        routed.dropped += pc.sum(missed).as_py() or 0

    def _put(self, routed: Routed, target: int, table: pa.Table, headers: Mapping[bytes, bytes]) -> None:
        if not table.num_rows:
            return
        flat = [part for header in headers.items() for part in header]
        if self._formats[target] == "arrow":
            routed.entries += [(target, [DATA, data, *flat]) for data in encoded_parts(table, self._max_record)]
        else:
            routed.entries += [(target, [*self._fields(target, record), *flat]) for record in records_of(table)]
        routed.rows[target] += table.num_rows

    def _fields(self, target: int, record: Record) -> list[bytes]:
        fields = encode_fields(record) if self._formats[target] == "fields" else [DATA, encode_json(record)]
        refuse_large(sum(map(len, fields)), self._max_record)
        return fields
