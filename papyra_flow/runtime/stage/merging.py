"""The program of a stage where records become tables: its first steps run over records, the others over their table.

A record whose values do not fit, or that makes a later step fail, is found as rows of tables are, and fails by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.records.tables import table_of, usual_types
from papyra_flow.runtime.stage.failure import FailurePolicy
from papyra_flow.runtime.stage.outcome import Became, Outcome
from papyra_flow.runtime.stage.processing import Processor
from papyra_flow.runtime.stage.results import refuse_notes
from papyra_flow.runtime.stage.sift import NOT_OF_A_ROW, sift
from papyra_flow.runtime.stage.table_router import TableRouter
from papyra_flow.runtime.stage.table_steps import TableSteps


class MergingProgram:
    """Runs a stage's steps over records, makes a table of them, and runs the rest over that; `types` of columns."""

    def __init__(
        self,
        records: Processor,
        types: Mapping[str, pa.DataType],
        steps: TableSteps,
        router: TableRouter,
        policy: FailurePolicy,
    ) -> None:
        self._records = records
        self._types = types
        self._steps = steps
        self._router = router
        self._policy = policy

    async def start(self) -> None:
        """Start the steps that have something to start."""
        await self._records.start()
        await self._steps.start()

    async def close(self) -> None:
        """Close what the steps opened."""
        await self._records.close()
        await self._steps.close()

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """All of it fails."""
        return Outcome(failures=dict.fromkeys(range(len(batch)), exc), together=True)

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `StageProgram.run`; the first record that did not fail carries what all of them became."""
        processed = await self._records.process(batch)
        rows, failures = processed.rows or Rows([], ()), dict(processed.failures)
        refuse_notes(rows, failures, "Emit: a record with a stream or headers of its own cannot go into a table")
        made = await self._together(batch, rows.without(failures), failures, encode)
        dropped = len(batch) - len(failures) - len(set(rows.origins) - failures.keys())
        lives = [place for place in range(len(batch)) if place not in failures]
        return Outcome(
            became={place: replace(made, dropped=made.dropped + dropped) for place in lives[:1]},
            done=[batch.ids[place] for place in lives[1:]],
            failures=failures,
            together=True,
        )

    async def _together(self, batch: Batch, rows: Rows, failures: Failures, encode: Encode | None) -> Became:
        """What rows became as one table; `failures` gets the entries that could not be part of it."""
        if not rows:
            return Became()
        types = self._types_of(rows)

        async def attempt(places: Sequence[int]) -> Became:
            table = table_of([rows.records[place] for place in places], types)
            parts, dropped = await self._steps.run(table, {}, batch.entry(rows.origins[0]))
            return self._router.route(parts, {}, encode, dropped)

        try:
            return await attempt(range(len(rows)))
        except NOT_OF_A_ROW:
            raise
        except Exception as exc:  # noqa: BLE001 - a step may raise anything; it is the records' failure
            again = self._policy.judge(batch.entry(rows.origins[0]), exc).action in {"retry", "halt"}
            found = (None, dict.fromkeys(range(len(rows)), exc)) if again else await sift(len(rows), attempt, exc)
        made, bad = found
        failures |= {rows.origins[place]: exc for place, exc in bad.items()}
        rest = rows.without(failures)
        if made is not None and len(rest) + len(bad) < len(rows):  # an entry fails with all that was made of it
            return await self._together(batch, rest, failures, encode)
        return made or Became()

    def _types_of(self, rows: Rows) -> Mapping[str, pa.DataType]:
        """The columns' types, so that they are the same for any part of the rows."""
        try:
            table = table_of(rows.records, self._types)
        except RecordError:
            return usual_types(rows.records, self._types)
        return {name: table.schema.field(name).type for name in table.column_names}
