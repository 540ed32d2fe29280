"""A keyed stage's program at work in one partition.

State changes in memory, record by record, and becomes part of the batch's commit. Where a record fails behind the step
that counted it, all that the batch has changed is taken back and the batch done again without it: a record that failed
has left nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Protocol

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import LateError
from papyra_flow.records.batch import Batch
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.runtime.stage.event_times import EntryTimes, TimeExpression
from papyra_flow.runtime.stage.keyed import KeyedProgram
from papyra_flow.runtime.stage.keyed_results import absorbed, settled
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.results import sorted_out
from papyra_flow.runtime.stage.timer_batch import TimerBatch
from papyra_flow.state.progress import Progress
from papyra_flow.state.store import Store
from papyra_flow.steps.context import contexts_of
from papyra_flow.steps.keyed import KeyedRows


class KeyedState(Protocol):
    """A partition's state, as its program needs it."""

    store: Store
    progress: Progress

    @property
    def watermark(self) -> int:
        """As timers have it: the end of time where all of the input has arrived."""

    async def load(self, fields: Sequence[bytes]) -> None:
        """Load these fields into the store."""

    def count_late(self, records: int) -> None:
        """So many records were late, if this batch is committed."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """Rows with their event times, and the watermark as of each."""

    rows: Rows
    times: Sequence[int]
    watermarks: Sequence[int]

    def only(self, keep: Sequence[bool]) -> _Timed:
        """The rows that are kept."""
        times = [time for time, kept in zip(self.times, keep, strict=True) if kept]
        marks = [mark for mark, kept in zip(self.watermarks, keep, strict=True) if kept]
        return _Timed(self.rows.only(keep), times, marks)

    def without(self, failures: Failures) -> _Timed:
        """Those of entries in which nothing failed."""
        return self.only([origin not in failures for origin in self.rows.origins]) if failures else self


class PartitionProgram:
    """Runs batches over a partition's state; what changes there is in its store afterwards."""

    def __init__(self, program: KeyedProgram, state: KeyedState) -> None:
        self._program = program
        self._state = state

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """All of it fails; timers do not go off again, and what they were for stays as it is."""
        if isinstance(batch, TimerBatch):
            for timer in batch.timers:
                self._state.store.delete_timer(timer.member)
        return self._program.give_up(batch, exc)

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `BatchProgram.run`."""
        self._state.count_late(0)
        if isinstance(batch, TimerBatch):
            return await self._fire(batch, encode)
        before, failures = self._state.progress.state(), dict[int, Exception]()
        while (outcome := await self._once(batch, failures, encode)) is None:
            # Something failed behind the state that it has changed: all of the batch again, without that.
            self._state.store.rollback()
            self._state.progress.restore(before)
        return outcome

    async def _once(self, batch: Batch, failures: Failures, encode: Encode | None) -> Outcome | None:
        """What a batch becomes without the entries of `failures`; None where that gets more, and state has changed.

        It begins with the entries: a step may have changed a record in place.
        """
        program, late_to = self._program, self._program.keyed.late_to
        entry_times: dict[int, int] = {}
        processed = await program.before.process(batch, partial(self._look, batch, entry_times))
        failures |= processed.failures
        kept = self._timed(batch, processed.rows or Rows([], ()), entry_times, failures)
        failed: Failures = {}
        handed_on = kept.times if program.clock.hands_on else None
        outcomes = settled(await self._apply(batch, kept), kept.rows, late_to, handed_on)
        if not failures and len(outcomes.kept) == len(batch) == len(kept.rows):
            return Outcome(done=batch.ids)  # all of it went into the state, as it mostly does
        made = sorted_out(kept.rows, outcomes.found, failed, apart=False)
        partly = bool(failed) and not kept.rows.one_each
        outcome = await program.leave(batch, made, failures | failed, encode, raw=processed.raw)
        if partly or not outcome.failures.keys() <= failures.keys() | failed.keys():
            failures |= outcome.failures
            return None
        late = sum(isinstance(exc, LateError) for exc in outcome.failures.values())
        self._state.count_late(outcomes.late + late)
        return absorbed(outcome, batch, outcomes.kept)

    def _look(self, batch: Batch, found: dict[int, int], rows: Rows, failures: Failures) -> None:
        """Take the event times of the records as they came."""
        clock = self._program.clock
        if isinstance(clock.times, EntryTimes) and (clock.goes or clock.hands_on):
            found |= clock.times.of(batch, rows, failures)

    def _timed(self, batch: Batch, rows: Rows, entry_times: Mapping[int, int], failures: Failures) -> _Timed:
        """The rows of entries in which nothing failed, with their times; `failures` gets those that have none.

        A record that fails behind the state has been read all the same: the watermark moves with it.
        """
        clock, untimed = self._program.clock, dict[int, Exception]()
        if isinstance(clock.times, TimeExpression):
            times = clock.times.of(rows, untimed)
        else:
            times = [entry_times.get(origin, 0) for origin in rows.origins]
        kept = _Timed(rows, times, times).without(untimed)
        failures |= untimed
        if not clock.goes:
            return kept.without(failures)
        marks: list[int] = []
        for stream, part in self._by_stream(batch, kept):
            behind = clock.disorder.get(stream, 0)
            marks += self._state.progress.advance(stream, [time - behind for time in part.times])
        return _Timed(kept.rows, kept.times, marks).without(failures)

    def _by_stream(self, batch: Batch, kept: _Timed) -> Iterator[tuple[str, _Timed]]:
        """The rows, by the stream that they came in: those that are replayed may be from several."""
        names = self._program.names
        if batch.key in names:
            yield names[batch.key], kept
            return
        streams = [names.get(batch.entry(origin).origin.key, "") for origin in kept.rows.origins]
        start = 0
        for stream, group in groupby(streams):
            end = start + len(list(group))
            yield stream, kept.only([start <= row < end for row in range(len(streams))])
            start = end

    async def _apply(self, batch: Batch, kept: _Timed) -> Sequence[object]:
        keyed, store = self._program.keyed, self._state.store
        outcomes: list[object] = []
        for stream, part in self._by_stream(batch, kept):
            if not part.rows:
                continue
            rows = part.rows
            contexts = (
                contexts_of(keyed.context, rows, batch.entry, self._program.decoder.headers(batch))
                if keyed.context is not None
                else ()
            )
            prepared = keyed.step.prepare(KeyedRows(rows.records, part.times, part.watermarks, stream, contexts))
            if missing := store.missing(keyed.step.fields(prepared)):
                await self._state.load(missing)
            if keyed.awaits:
                outcomes += await keyed.step.apply_async(prepared, store)  # type: ignore[attr-defined]
            else:
                outcomes += keyed.step.apply(prepared, store)
        return outcomes

    async def _fire(self, batch: TimerBatch, encode: Encode | None) -> Outcome:
        """Timers go off: each is deleted, and what became of it leaves; what fails of it is dead."""
        keyed, state, failures = self._program.keyed, self._state, dict[int, Exception]()
        step, hands_on = keyed.step, self._program.clock.hands_on
        if missing := state.store.missing(step.fields_of(batch.timers)):
            await state.load(missing)
        for timer in batch.timers:
            state.store.delete_timer(timer.member)
        if keyed.awaits:
            fired = await step.fire_async(batch.timers, state.watermark, state.store)  # type: ignore[attr-defined]
        else:
            fired = step.fire(batch.timers, state.watermark, state.store)
        rows = Rows([{} for _ in fired], range(len(fired)))
        while True:
            failed: Failures = {}
            left = [None if place in failures else outcome for place, outcome in enumerate(fired)]
            outcomes = settled(left, rows, times=[timer.at for timer in batch.timers] if hands_on else None)
            made = sorted_out(rows, outcomes.found, failed, apart=True)
            batch.show(made)
            outcome = await self._program.leave(batch, made, failures | failed, encode)
            if outcome.failures.keys() <= failures.keys() | failed.keys():
                return absorbed(outcome, batch, range(len(batch)))
            failures |= outcome.failures
