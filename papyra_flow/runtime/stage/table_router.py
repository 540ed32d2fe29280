"""Where tables go: a table is cut by the routes' conditions, and each piece leaves in its stream's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import RecordError
from papyra_flow.expressions.columns.vectorised import TableExpression
from papyra_flow.records.entries import CODECS, DATA, refuse_large
from papyra_flow.records.headers import Headers
from papyra_flow.records.table_rows import records_of
from papyra_flow.records.tables import encoded_parts
from papyra_flow.runtime.stage.outcome import Became, Emitted
from papyra_flow.runtime.stage.results import NO_STREAMS
from papyra_flow.runtime.stage.router import beside_fields
from papyra_flow.runtime.stage.routes import Routes
from papyra_flow.runtime.stage.sink_encoding import all_encoded
from papyra_flow.streams.commit.commit import refuse_wide
from papyra_flow.topology.model import RouteSpec
from papyra_flow.topology.streams import StreamSpec

if TYPE_CHECKING:
    from papyra_flow.runtime.stage.table_steps import TablePart


class _Leaving(NamedTuple):
    """What leaves of an entry so far, the headers that it leaves with, and those that a step has added."""

    emitted: list[Emitted]
    rows: Counter[int]
    headers: Mapping[bytes, bytes]
    added: Mapping[bytes, bytes]


class TableRouter:
    """A stage's way out for tables: its routes, or its sink, which writes records."""

    def __init__(
        self,
        routes: Sequence[RouteSpec],
        match: Literal["first", "all"],
        targets: Sequence[StreamSpec],
        max_record: int,
    ) -> None:
        self._routes = Routes(routes, match, targets, TableExpression)
        self._formats = self._routes.formats
        self._max_record = max_record

    def route(
        self, parts: Iterable[TablePart], headers: Mapping[bytes, bytes], encode: Encode | None, dropped: int
    ) -> Became:
        """What the parts of an entry became, of which rows were dropped before; RecordError for what cannot leave.

        Raises SinkStoppedError for a sink that cannot continue.
        """
        if encode is not None:
            return Became(payloads=_for_sink(parts, encode), dropped=dropped)
        emitted: list[Emitted] = []
        rows: Counter[int] = Counter()
        for table, note in parts:
            to, added = note or (None, None)
            leaving = _Leaving(emitted, rows, {**headers, **(added or {})}, added or {})
            if to is not None:
                self._put(leaving, self._routes.named(to), table)
            else:
                dropped += self._cut(leaving, table)
        return Became(emitted, rows=rows, dropped=dropped)

    def _cut(self, leaving: _Leaving, table: pa.Table) -> int:
        """Send each row to the first route that it fits, or to all; returns how many fit none."""
        asked, copy_all = Headers.of(leaving.headers), self._routes.copy_all
        missed = pa.repeat(pa.scalar(True), table.num_rows) if copy_all else None
        for target, when, _ in self._routes.ways:
            if when is None:
                self._put(leaving, target, table)
                outside = pa.repeat(pa.scalar(False), table.num_rows) if copy_all else None
            else:
                mask = when.mask(table, asked)
                self._put(leaving, target, table.filter(mask))
                outside = pc.invert(mask)
            if outside is None:
                return 0
            if missed is None:
                table = table.filter(outside)  # the routes behind are not asked about what has gone
            else:
                missed = pc.and_(missed, outside)
        return table.num_rows if missed is None else pc.sum(missed).as_py() or 0

    def _put(self, leaving: _Leaving, target: int, table: pa.Table) -> None:
        """The rows for a target, with headers, among them those that a step has added."""
        if not table.num_rows:
            return
        emitted, _, headers, added = leaving
        flat = _flat(headers)
        if added:
            refuse_large(sum(map(len, flat)), self._max_record)
            refuse_wide([DATA, b"", *flat])
        if self._formats[target] == "arrow":
            emitted += [(target, [DATA, data, *flat]) for data in encoded_parts(table, self._max_record)]
        else:
            for record in records_of(table):
                fields = CODECS[self._formats[target]].encode(record)
                refuse_large(sum(map(len, fields)), self._max_record)
                beside = dict(headers)
                if self._formats[target] == "fields":
                    beside = beside_fields(fields, beside, added)
                emitted.append((self._routes.spread.one(target, record), [*fields, *_flat(beside)]))
        leaving.rows[target] += table.num_rows


def _for_sink(parts: Iterable[TablePart], encode: Encode) -> list[bytes]:
    payloads: list[bytes] = []
    for table, note in parts:
        if note is not None:
            raise RecordError(NO_STREAMS)
        payloads += all_encoded(encode, records_of(table))
    return payloads


def _flat(headers: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for header in headers.items() for part in header]
