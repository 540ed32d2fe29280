"""Tables through a stage's steps: each entry is a table, and what becomes of it is found out for the whole of it.

A row that cannot be processed is split off from its table and goes to the dead letters by itself, the rest goes on:
`sift` finds such rows by halving.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import pyarrow as pa

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry, headers_of, refuse_large
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Failures, Note, Rows
from papyra_flow.records.table_rows import Fitness, records_of
from papyra_flow.records.tables import decode_table, table_entry, table_of
from papyra_flow.runtime.stage.failure import FailurePolicy
from papyra_flow.runtime.stage.processing import Aside, Processed, close_steps, start_steps, stepped
from papyra_flow.runtime.stage.results import note_of
from papyra_flow.runtime.stage.table_router import Routed, TableRouter
from papyra_flow.steps.base import OfTable, Step
from papyra_flow.steps.context import Context
from papyra_flow.steps.emit import Emit
from papyra_flow.steps.functions.calls import bounded, contained, settled
from papyra_flow.steps.functions.table_functions import as_arrow

PIECES = 32
"""Pieces of a table that ends its worker: each level of them costs a few more workers' ends."""

T = TypeVar("T")


class Part(NamedTuple):
    """A table on its way, and what an `Emit` noted on it."""

    table: pa.Table
    note: Note | None = None


class ProcessedTables(Processed):
    """What became of a batch of tables, by the place of each; `rows` are those of all, for a sink."""

    __slots__ = ("tables",)

    def __init__(self, tables: dict[int, Routed], aside: dict[int, Aside], failures: Failures) -> None:
        records = [record for routed in tables.values() for record in routed.records]
        origins = [place for place, routed in tables.items() for _ in routed.records]
        super().__init__(Rows(records, origins), failures, raw=False, aside=aside)
        self.tables = tables


class TableSteps:
    """A stage's steps over tables, in order; one that knows only records gets the rows."""

    def __init__(self, steps: Sequence[OfTable | Step]) -> None:
        self._steps = steps
        self._fitness = Fitness()

    async def start(self) -> None:
        """Start the steps that have something to start."""
        await start_steps(self._steps)

    async def close(self) -> None:
        """Close what the steps opened."""
        await close_steps(self._steps)

    async def run(self, table: pa.Table, headers: Mapping[bytes, bytes], entry: Entry) -> tuple[list[Part], int]:
        """What an entry's table became, and how many rows were dropped; raises what a step met."""
        self._fitness.require(table)
        parts, dropped = [Part(table)], 0
        for step in self._steps:
            before, parts = parts, []
            for part in before:
                made = await _made_of(step, part, headers, entry)
                if not made or (isinstance(step, OfTable) and step.drops):
                    dropped += part.table.num_rows - sum(one.table.num_rows for one in made)
                if not (isinstance(step, OfTable) and step.drops):
                    for one in made:
                        self._fitness.require(one.table)
                parts += made
        return parts, dropped


async def _made_of(step: OfTable | Step, part: Part, headers: Mapping[bytes, bytes], entry: Entry) -> list[Part]:
    if isinstance(step, OfTable):
        more: tuple[object, ...] = (_headers(part, headers),) if step.needs_headers else ()
        if step.context is not None:
            more = (*more, Context(step.context, entry, partial(_headers, part, headers)))
        outcome = contained(step.apply, part.table, *more)
        if inspect.isawaitable(outcome):
            outcome = await settled(outcome)
        return contained(lambda: [made for made in _parts(outcome, part.note) if made.table.num_rows])
    failures: Failures = {}
    records = records_of(part.table)
    rows = await stepped(
        step, Rows(records, range(len(records))), failures, lambda _: _headers(part, headers), lambda _: entry
    )
    for exc in failures.values():
        raise exc
    return _as_tables(rows, part.note)


def _headers(part: Part, headers: Mapping[bytes, bytes]) -> Headers:
    return Headers.of(headers).over(part.note.headers if part.note is not None else None)


def _parts(outcome: object, note: Note | None) -> Iterator[Part]:
    """What a step returned: a table, an `Emit` of one, an iterable of those, or nothing."""
    if outcome is None:
        return
    if isinstance(outcome, Emit):
        note, outcome = note_of(outcome, note), outcome.record
    if (table := as_arrow(outcome)) is not None:
        yield Part(table, note)
    elif isinstance(outcome, Iterable) and not isinstance(outcome, str | bytes | dict):
        for one in bounded(outcome):
            yield from _parts(one, note)
    else:
        raise RecordError(f"a step returned {shown(outcome)}, not a table")


def _as_tables(rows: Rows, note: Note | None) -> list[Part]:
    """Rows as tables again: one for each way that they were told to go."""
    if rows.notes is None:
        return [Part(table_of(rows.records), note)] if rows.records else []
    groups: list[tuple[Note | None, list[int]]] = []
    for index, noted in enumerate(rows.notes):
        for known, members in groups:
            if known == noted:
                members.append(index)
                break
        else:
            groups.append((noted, [index]))
    return [Part(table_of([rows.records[index] for index in members]), noted or note) for noted, members in groups]


class TableProcessor:
    """Decodes a stage's tables, runs the steps over each, and routes what comes out."""

    def __init__(
        self, steps: TableSteps, router: TableRouter, policy: FailurePolicy, counters: StageCounters, max_record: int
    ) -> None:
        self._steps = steps
        self._router = router
        self._policy = policy
        self._counters = counters
        self._max_record = max_record
        self.start, self.close = steps.start, steps.close

    async def process(self, batch: Batch) -> ProcessedTables:
        """Run the steps over each table of a batch; never raises for a record's own failure."""
        tables: dict[int, Routed] = {}
        aside: dict[int, Aside] = {}
        failures: Failures = {}
        read = 0
        for place, fields in enumerate(batch.fields):
            rows = 1
            try:
                refuse_large(sum(map(len, fields)), self._max_record)
                table = decode_table(fields)
                rows = table.num_rows
                tables[place], aside[place] = await self._one(batch.entry(place), table)
            except Exception as exc:  # noqa: BLE001 - a step may raise anything; it is the table's failure
                failures[place] = exc
            read += rows
        if batch.fresh:
            self._counters.read += read
        return ProcessedTables(tables, aside, failures)

    def give_up(self, batch: Batch, exc: Exception) -> ProcessedTables:
        """Put each table back in pieces, so that the row whose fault it is gets lonely; a single row fails (I5)."""
        tables: dict[int, Routed] = {}
        aside: dict[int, Aside] = {}
        failures: Failures = {}
        for place, fields in enumerate(batch.fields):
            try:
                table = decode_table(fields)
            except RecordError as broken:
                failures[place] = broken
                continue
            if table.num_rows < 2:
                failures[place] = exc
                continue
            size = -(-table.num_rows // PIECES)
            pieces = [table.slice(start, size) for start in range(0, table.num_rows, size)]
            headers = headers_of(fields)
            tables[place] = Routed()
            aside[place] = Aside(pieces=[table_entry(piece, headers) for piece in pieces])
        return ProcessedTables(tables, aside, failures)

    async def _one(self, entry: Entry, table: pa.Table) -> tuple[Routed, Aside]:
        """What became of one table; raises what makes it fail as a whole."""
        headers = headers_of(entry.fields)
        aside = Aside()

        async def attempt(rows: Sequence[int]) -> Routed:
            return await self._through(_taken(table, rows), headers, entry)

        try:
            routed = await attempt(range(table.num_rows))
        except Exception as exc:
            if self._policy.judge(entry, exc).action in {"retry", "halt"}:
                raise
            rest, bad = await sift(table.num_rows, attempt, exc)
            for row, found in sorted(bad.items()):
                action = self._policy.judge(entry, found).action
                if rest is None or action in {"retry", "halt"}:
                    raise found from None
                if action == "drop":
                    aside.dropped += 1
                else:
                    aside.bad.append((table_entry(_taken(table, (row,)), headers), found))
            routed = rest or Routed()
        routed.dropped += aside.dropped
        aside.dropped = routed.dropped
        return routed, aside

    async def _through(self, table: pa.Table, headers: dict[bytes, bytes], entry: Entry) -> Routed:
        parts, dropped = await self._steps.run(table, headers, entry)
        routed = self._router.route(parts, headers)
        routed.dropped += dropped
        return routed


def _taken(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    if isinstance(rows, range):
        return table if len(rows) == table.num_rows else table.slice(rows.start, len(rows))
    return table.take(pa.array(rows, pa.int64()))


async def sift(
    count: int, attempt: Callable[[Sequence[int]], Awaitable[T]], first: Exception
) -> tuple[T | None, dict[int, Exception]]:
    """Find which of `count` rows make `attempt` fail, which did so with `first` for all of them, and do the others.

    Returns the others' result, None if there are none, and the failure of each row that was left out. Rows that
    fail only together are all left out.
    """
    bad: dict[int, Exception] = {}
    waiting = [(range(count), first)]
    while waiting:
        rows, failure = waiting.pop()
        if len(rows) == 1:
            bad[rows.start] = failure
            continue
        middle = rows.start + len(rows) // 2
        for half in (range(rows.start, middle), range(middle, rows.stop)):
            try:
                await attempt(half)
            except Exception as exc:  # noqa: BLE001 - looked into further
                waiting.append((half, exc))
    good = [row for row in range(count) if row not in bad]
    if bad and good:
        try:
            return await attempt(good), bad
        except Exception as exc:  # noqa: BLE001 - fine in parts, not together
            first = exc
    return None, {row: bad.get(row, first) for row in range(count)}
