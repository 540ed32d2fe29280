"""The program of a stage of tables: each entry is a table, and what becomes of it is found out for the whole of it.

A row that cannot be processed is split off from its table and becomes a dead letter alone; the rest continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry, headers_of, refuse_large
from papyra_flow.records.tables import decode_table, table_entry
from papyra_flow.runtime.stage.failure import FailurePolicy
from papyra_flow.runtime.stage.outcome import Became, Outcome
from papyra_flow.runtime.stage.sift import NOT_OF_A_ROW, sift
from papyra_flow.runtime.stage.table_router import TableRouter
from papyra_flow.runtime.stage.table_steps import TableSteps

PIECES = 32
"""Pieces of a table that ends its worker: each level of them costs a few more workers' ends."""


class TableProgram:
    """Each entry is a table, and fails or leaves by itself."""

    def __init__(self, steps: TableSteps, router: TableRouter, policy: FailurePolicy, max_record: int) -> None:
        self._steps = steps
        self._router = router
        self._policy = policy
        self._max_record = max_record
        self.start, self.close = steps.start, steps.close

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `StageProgram.run`."""
        outcome = Outcome()
        for place, fields in enumerate(batch.fields):
            rows = 1
            try:
                refuse_large(sum(map(len, fields)), self._max_record)
                table = decode_table(fields)
                rows = table.num_rows
                outcome.became[place] = await self._one(batch.entry(place), table, encode)
            except NOT_OF_A_ROW:
                raise
            except Exception as exc:  # noqa: BLE001 - a step may raise anything; it is the table's failure
                outcome.failures[place] = exc
            outcome.rows += rows
        return outcome

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """Put each table back in pieces, to isolate the row that is at fault; a single row fails (I5)."""
        outcome = Outcome()
        for place, fields in enumerate(batch.fields):
            try:
                table = decode_table(fields)
            except RecordError as broken:
                outcome.failures[place] = broken
                continue
            if table.num_rows < 2:
                outcome.failures[place] = exc
                continue
            size, headers = -(-table.num_rows // PIECES), headers_of(fields)
            pieces = [table.slice(start, size) for start in range(0, table.num_rows, size)]
            outcome.became[place] = Became(pieces=[table_entry(piece, headers) for piece in pieces])
        return outcome

    async def _one(self, entry: Entry, table: pa.Table, encode: Encode | None) -> Became:
        """What became of one table; raises what makes it fail as a whole."""
        headers = headers_of(entry.fields)

        async def attempt(rows: Sequence[int]) -> Became:
            parts, dropped = await self._steps.run(_taken(table, rows), headers, entry)
            return self._router.route(parts, headers, encode, dropped)

        try:
            return await attempt(range(table.num_rows))
        except NOT_OF_A_ROW:
            raise
        except Exception as exc:
            if self._policy.judge(entry, exc).action in {"retry", "halt"}:
                raise
            rest, found = await sift(table.num_rows, attempt, exc)
        return self._split(entry, table, rest, found)

    def _split(self, entry: Entry, table: pa.Table, rest: Became | None, found: dict[int, Exception]) -> Became:
        """What became of the rows that continued, and those that failed; raises what ends the stage."""
        bad, dropped = [], 0
        for row, exc in sorted(found.items()):
            action = self._policy.judge(entry, exc).action
            if rest is None or action in {"retry", "halt"}:
                raise exc from None
            if action == "drop":
                dropped += 1
            else:
                bad.append((table_entry(_taken(table, (row,)), headers_of(entry.fields)), exc))
        rest = rest or Became()
        return replace(rest, dropped=rest.dropped + dropped, bad=bad)


def _taken(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    if isinstance(rows, range):
        return table if len(rows) == table.num_rows else table.slice(rows.start, len(rows))
    return table.take(pa.array(rows, pa.int64()))
