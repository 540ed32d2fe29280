"""The program of a stage of records: decode them, run the steps, and route or encode what comes out."""

from __future__ import annotations

from papyra_flow.connectors.base import Encode
from papyra_flow.records.batch import Batch
from papyra_flow.runtime.stage.event_times import EntryTimes, stamped
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.processing import Processor
from papyra_flow.runtime.stage.router import Router
from papyra_flow.runtime.stage.sink_encoding import to_sink


class RecordProgram:
    """Each entry is a record, and fails or leaves by itself."""

    def __init__(self, steps: Processor, router: Router, times: EntryTimes | None = None) -> None:
        """`times` is for a stage that hands event times on."""
        self._steps = steps
        self._router = router
        self._times = times
        self.start, self.close = steps.start, steps.close

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `BatchProgram.run`."""
        if (times := self._times) is not None:
            return await self._run_timed(batch, times)
        processed = await self._steps.process(batch)
        if encode is not None:
            return to_sink(batch, processed, encode)
        return self._router.route(batch, processed)

    async def _run_timed(self, batch: Batch, times: EntryTimes) -> Outcome:
        found: dict[int, int] = {}
        processed = await self._steps.process(
            batch, lambda rows, failures: found.update(times.of(batch, rows, failures))
        )
        if processed.rows is not None:
            processed.rows = stamped(processed.rows, found)
        return self._router.route(batch, processed)

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """All of it fails."""
        return Outcome(failures=dict.fromkeys(range(len(batch)), exc))
