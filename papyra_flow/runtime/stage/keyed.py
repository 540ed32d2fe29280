"""The program of a keyed stage: steps, the step that keeps state, steps behind it, and the way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from papyra_flow.connectors.base import Encode
from papyra_flow.records.batch import Batch
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.event_times import EntryTimes, TimeExpression
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.processing import Processed, Processor, close_steps, start_steps, stepped
from papyra_flow.runtime.stage.router import Router
from papyra_flow.runtime.stage.sink_encoding import to_sink
from papyra_flow.steps.base import Each, Step
from papyra_flow.steps.keyed import Keyed


@dataclass(frozen=True, slots=True)
class Clock:
    """How a keyed stage goes by time: whose event times, whether it needs them, and whether it hands them on."""

    times: TimeExpression | EntryTimes
    goes: bool
    hands_on: bool
    disorder: Mapping[str, int]
    """Milliseconds that a record of such a stream may lie behind one before it."""


class KeyedProgram:
    """A keyed stage's steps; what runs batches is the program of a partition."""

    def __init__(
        self, before: Processor, keyed: Keyed, behind: Sequence[Step], router: Router, decoder: Decoder, clock: Clock,
        names: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`names` are those of the streams that the stage reads by their keys."""
        self.before = before
        self.keyed = keyed
        self.decoder = decoder
        self.names = names
        self.clock = clock
        self._behind = behind
        self._router = router
        self._raw = keyed.unchanged and all(isinstance(step, Each) and step.unchanged for step in behind)
        self._started = AsyncExitStack()

    async def start(self) -> None:
        """Start the steps that have something to start; if one cannot be, those that were are closed again."""
        async with AsyncExitStack() as started:
            await self.before.start()
            started.push_async_callback(self.before.close)
            if self.keyed.start is not None:
                await self.keyed.start()
            if self.keyed.close is not None:
                started.push_async_callback(self.keyed.close)
            await start_steps(self._behind)
            started.push_async_callback(close_steps, self._behind)
            self._started = started.pop_all()

    async def close(self) -> None:
        """Close what the steps opened."""
        await self._started.aclose()

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """As `BatchProgram.run`: not without a partition's state."""
        raise RuntimeError("a keyed stage runs by partitions")

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """All of it fails."""
        return Outcome(failures=dict.fromkeys(range(len(batch)), exc))

    async def leave(
        self, batch: Batch, rows: Rows, failures: Failures, encode: Encode | None, *, raw: bool = False
    ) -> Outcome:
        """What the rows of entries in which nothing failed become behind the state; all failures are in the outcome's.

        `raw` says that the entries' own bytes still stand for the records that come to the step.
        """
        found = dict(failures)
        rows = rows.without(found)
        for step in self._behind:
            if not rows:
                break
            rows = (await stepped(step, rows, found, self.decoder.headers(batch), batch.entry)).without(found)
        processed = Processed(rows, found, raw=raw and self._raw)
        return to_sink(batch, processed, encode) if encode is not None else self._router.route(batch, processed)
