"""The program of a keyed stage: steps, the step that keeps state, steps behind it, and the way out.

State changes in memory, record by record, and becomes part of the batch's commit. Where a record fails behind the step
that counted it, all that the batch has changed is taken back, and the batch done again without it: so that a record
that failed has left nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import LateError
from papyra_flow.records.batch import Batch
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.runtime.stage.event_times import EventTimes
from papyra_flow.runtime.stage.keyed_results import absorbed, settled
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.processing import Processed, Processor, close_steps, start_steps, stepped
from papyra_flow.runtime.stage.results import sorted_out
from papyra_flow.runtime.stage.router import Router
from papyra_flow.runtime.stage.sink_encoding import to_sink
from papyra_flow.runtime.stage.timer_batch import TimerBatch
from papyra_flow.state.progress import Progress
from papyra_flow.state.store import Store
from papyra_flow.steps.base import Step
from papyra_flow.steps.keyed import Keyed, KeyedRows


class KeyedState(Protocol):
    """A partition's state, as its program needs it."""

    store: Store
    progress: Progress

    async def load(self, fields: Sequence[bytes]) -> None:
        """Load these fields into the store."""

    def count_late(self, records: int) -> None:
        """So many records were late, if this batch is committed."""


class KeyedProgram:
    """A keyed stage's steps; `of` a partition's state it runs batches."""

    def __init__(
        self, before: Processor, keyed: Keyed, behind: Sequence[Step], router: Router, times: EventTimes,
        names: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`names` are those of the streams that the stage reads, by their keys."""
        self.before = before
        self.keyed = keyed
        self.behind = behind
        self.router = router
        self.times = times
        self.names = names

    async def start(self) -> None:
        """Start the steps that have something to start."""
        await self.before.start()
        await start_steps(self.behind)

    async def close(self) -> None:
        """Close what the steps opened."""
        await self.before.close()
        await close_steps(self.behind)

    def of(self, state: KeyedState) -> PartitionProgram:
        """The program of one partition."""
        return PartitionProgram(self, state)

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `BatchProgram.run`: not without a partition's state."""
        raise RuntimeError("a keyed stage runs by partitions")

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """All of it fails."""
        return Outcome(failures=dict.fromkeys(range(len(batch)), exc))


class PartitionProgram:
    """A keyed stage's program in one partition."""

    def __init__(self, program: KeyedProgram, state: KeyedState) -> None:
        self._program = program
        self._state = state

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """All of it fails."""
        return self._program.give_up(batch, exc)

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `BatchProgram.run`; what changes in the state is in its store afterwards."""
        if isinstance(batch, TimerBatch):
            return await self._fire(batch, encode)
        program = self._program
        processed = await program.before.process(batch)
        rows, failures = processed.rows or Rows([], ()), dict(processed.failures)
        stream = program.names[batch.key]
        if program.keyed.needs_time:
            times = program.times.of(batch, rows, failures)
            watermarks = self._state.progress.advance(stream, times)
        else:
            times = watermarks = [0] * len(rows)
        kept = _Timed(rows, times, watermarks).without(failures)
        while True:
            failed: Failures = {}
            outcomes = settled(await self._apply(kept, stream), kept.rows.records, program.keyed.late_to)
            made = sorted_out(kept.rows, outcomes.found, failed, apart=False)
            partly = bool(failed) and not kept.rows.one_each
            outcome = await self._leave(batch, made, failed, failures, encode)
            if not partly and outcome.failures.keys() <= failures.keys() | failed.keys():
                late = sum(isinstance(exc, LateError) for exc in outcome.failures.values())
                self._state.count_late(outcomes.late + late)
                return outcome
            # Something failed behind the state that it has changed: all of the batch again, without that.
            self._state.store.rollback()
            failures |= outcome.failures
            kept = kept.without(failures)

    async def _apply(self, kept: _Timed, stream: str) -> Sequence[object]:
        step, store = self._program.keyed.step, self._state.store
        if not kept.rows:
            return []
        prepared = step.prepare(KeyedRows(kept.rows.records, kept.times, kept.watermarks, stream))
        if missing := store.missing(step.fields(prepared)):
            await self._state.load(missing)
        return step.apply(prepared, store)

    async def _fire(self, batch: TimerBatch, encode: Encode | None) -> Outcome:
        """Timers go off: each is deleted, and what became of it leaves; what fails of it is dead."""
        step, state, failures = self._program.keyed.step, self._state, dict[int, Exception]()
        if missing := state.store.missing(step.fields_of(batch.timers)):
            await state.load(missing)
        for timer in batch.timers:
            state.store.delete_timer(timer.member)
        fired = step.fire(batch.timers, state.progress.watermark, state.store)
        while True:
            failed: Failures = {}
            kept = [None if place in failures else outcome for place, outcome in enumerate(fired)]
            outcomes = settled(kept, [{} for _ in kept], "drop")
            made = sorted_out(Rows([{} for _ in kept], range(len(kept))), outcomes.found, failed, apart=True)
            batch.show(made)
            outcome = await self._leave(batch, made, failed, failures, encode)
            if outcome.failures.keys() <= failures.keys():
                return outcome
            failures |= outcome.failures

    async def _leave(
        self, batch: Batch, rows: Rows, failed: Failures, before: Failures, encode: Encode | None
    ) -> Outcome:
        """What rows become in the steps behind and on the way out; all failures are in the outcome's."""
        program = self._program
        found = dict(before) | failed
        for step in program.behind:
            if not rows:
                break
            rows = await stepped(step, rows.without(found), found, _no_headers, batch.entry)
        processed = Processed(rows, found, raw=False)
        outcome = to_sink(batch, processed, encode) if encode is not None else program.router.route(batch, processed)
        return absorbed(outcome) if program.keyed.absorbs else outcome


@dataclass(frozen=True, slots=True)
class _Timed:
    """Rows with their event times, and the watermark as of each."""

    rows: Rows
    times: Sequence[int]
    watermarks: Sequence[int]

    def without(self, failures: Failures) -> _Timed:
        """Those of entries in which nothing failed."""
        if not failures:
            return self
        keep = [origin not in failures for origin in self.rows.origins]
        times = [time for time, kept in zip(self.times, keep, strict=True) if kept]
        marks = [mark for mark, kept in zip(self.watermarks, keep, strict=True) if kept]
        return _Timed(self.rows.only(keep), times, marks)


def _no_headers(_: int) -> Headers:
    return Headers()
