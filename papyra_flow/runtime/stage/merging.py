"""Where records become tables: the steps before `batch` run over records, those behind it over the table of them.

A record whose values do not fit, or that makes a later step fail, is found as rows of tables are, and fails by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.records.tables import table_of, usual_types
from papyra_flow.runtime.stage.failure import FailurePolicy
from papyra_flow.runtime.stage.processing import Processed, Processor
from papyra_flow.runtime.stage.results import refuse_notes
from papyra_flow.runtime.stage.table_router import Routed, TableRouter
from papyra_flow.runtime.stage.tables import TableSteps, sift


class Merged(Processed):
    """What a batch of records became together."""

    __slots__ = ("routed",)

    def __init__(self, routed: Routed, failures: Failures) -> None:
        super().__init__(None, failures, raw=False)
        self.routed = routed


class MergingProcessor:
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

    def give_up(self, batch: Batch, exc: Exception) -> Merged:
        """All of it fails."""
        return Merged(Routed(), dict.fromkeys(range(len(batch)), exc))

    async def process(self, batch: Batch) -> Merged:
        """What the records of a batch became; never raises for a record's own failure."""
        processed = await self._records.process(batch)
        rows, failures = processed.rows or Rows([], ()), dict(processed.failures)
        refuse_notes(rows, failures, "Emit: a record with a stream or headers of its own cannot go into a table")
        routed = await self._together(batch, rows.without(failures), failures)
        routed.dropped += len(batch) - len(failures) - len(set(rows.origins) - failures.keys())
        return Merged(routed, failures)

    async def _together(self, batch: Batch, rows: Rows, failures: Failures) -> Routed:
        """What rows became as one table; `failures` gets the entries that could not be part of it."""
        if not rows:
            return Routed()
        types = self._types_of(rows)

        async def attempt(places: Sequence[int]) -> Routed:
            table = table_of([rows.records[place] for place in places], types)
            parts, dropped = await self._steps.run(table, {}, batch.entry(rows.origins[0]))
            routed = self._router.route(parts, {})
            routed.dropped += dropped
            return routed

        try:
            return await attempt(range(len(rows)))
        except Exception as exc:  # noqa: BLE001 - a step may raise anything; it is the records' failure
            again = self._policy.judge(batch.entry(rows.origins[0]), exc).action in {"retry", "halt"}
            found = (None, dict.fromkeys(range(len(rows)), exc)) if again else await sift(len(rows), attempt, exc)
        routed, bad = found
        failures |= {rows.origins[place]: exc for place, exc in bad.items()}
        rest = rows.without(failures)
        if routed is not None and len(rest) + len(bad) < len(rows):  # an entry fails with all that was made of it
            return await self._together(batch, rest, failures)
        return routed or Routed()

    def _types_of(self, rows: Rows) -> Mapping[str, pa.DataType]:
        """The columns' types, so that they are the same for any part of the rows."""
        try:
            table = table_of(rows.records, self._types)
        except RecordError:
            return usual_types(rows.records, self._types)
        return {name: table.schema.field(name).type for name in table.column_names}
