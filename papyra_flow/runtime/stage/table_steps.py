"""Tables through a stage's steps: one that knows only records gets the rows, and what it gives back is tables again."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import Entry
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Failures, Note, Rows
from papyra_flow.records.table_rows import Fitness, records_of
from papyra_flow.records.tables import table_of
from papyra_flow.runtime.stage.processing import close_steps, start_steps, stepped
from papyra_flow.runtime.stage.results import note_of
from papyra_flow.steps.base import OfTable, Step
from papyra_flow.steps.context import Context
from papyra_flow.steps.functions.calls import bounded, contained, settled
from papyra_flow.steps.functions.table_functions import as_arrow


class TablePart(NamedTuple):
    """A table on its way, and what an `Emit` noted on it."""

    table: pa.Table
    note: Note | None = None


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

    async def run(self, table: pa.Table, headers: Mapping[bytes, bytes], entry: Entry) -> tuple[list[TablePart], int]:
        """What an entry's table became, with these headers, and how many rows were dropped; raises what a step met."""
        self._fitness.require(table)
        parts, dropped = [TablePart(table)], 0
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


async def _made_of(
    step: OfTable | Step, part: TablePart, headers: Mapping[bytes, bytes], entry: Entry
) -> list[TablePart]:
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
    notes = [part.note] * len(records) if part.note is not None else None
    rows = await stepped(
        step,
        Rows(records, range(len(records)), notes),
        failures,
        lambda _: Headers.of(headers),
        lambda _: entry,
        numbered=False,
    )
    for exc in failures.values():
        raise exc
    return _as_tables(rows)


def _headers(part: TablePart, headers: Mapping[bytes, bytes]) -> Headers:
    return Headers.of(headers).over(part.note.headers if part.note is not None else None)


def _parts(outcome: object, note: Note | None) -> Iterator[TablePart]:
    """What a step returned: a table, an `Emit` of one, an iterable of those, or nothing."""
    if outcome is None:
        return
    if isinstance(outcome, Emit):
        note, outcome = note_of(outcome, note), outcome.record
    if (table := as_arrow(outcome)) is not None:
        yield TablePart(table, note)
    elif isinstance(outcome, Iterable) and not isinstance(outcome, str | bytes | dict):
        for one in bounded(outcome):
            yield from _parts(one, note)
    else:
        raise RecordError(f"a step returned {shown(outcome)}, not a table")


def _as_tables(rows: Rows) -> list[TablePart]:
    """Rows as tables again: one for each way that they were told to go."""
    if rows.notes is None:
        return [TablePart(table_of(rows.records))] if rows.records else []
    groups: list[tuple[Note | None, list[int]]] = []
    for index, noted in enumerate(rows.notes):
        for known, members in groups:
            if known == noted:
                members.append(index)
                break
        else:
            groups.append((noted, [index]))
    return [TablePart(table_of([rows.records[index] for index in members]), noted) for noted, members in groups]
