"""A batch through a stage's steps: entries in, rows out, each failure kept with its entry.

A step is asked for what becomes of each row; what it answers is sorted out for all kinds of steps in one place
(`outcomes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from papyra_flow.errors import ExpressionError, RecordError, ServerError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.records.values import refuse_non_finite
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.results import NO_STREAMS, refuse_notes, sorted_out
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, OfTable, Step, Whole
from papyra_flow.steps.context import Context, contexts_of
from papyra_flow.steps.functions import forks
from papyra_flow.steps.functions.calls import failure_of

Look: TypeAlias = Callable[[Rows, Failures], None]
"""What is shown a batch's records as they came; it may add failures."""


class Processed:
    """What became of a batch: rows of the entries in which nothing failed, and the exception of each that failed.

    `rows` is None where records were not even decoded: what goes out is what came in.
    """

    __slots__ = ("failures", "raw", "rows")

    def __init__(self, rows: Rows | None, failures: Failures, *, raw: bool) -> None:
        self.rows = rows.without(failures) if rows is not None else None
        self.failures = failures
        self.raw = raw
        """Whether the entries' own bytes still stand for the records."""


class Processor:
    """A stage's steps in order, for a `sink` or for streams. Without a decoder, records are passed on as they are."""

    def __init__(self, steps: Sequence[Step], decoder: Decoder | None, *, sink: bool = False) -> None:
        self._sink = sink
        self._steps = steps
        self._decoder = decoder
        self._raw = all(isinstance(step, Each) and step.unchanged for step in steps)

    async def start(self) -> None:
        """Start the steps that have something to start."""
        await start_steps(self._steps)

    async def close(self) -> None:
        """Close what the steps opened."""
        await close_steps(self._steps)

    async def process(self, batch: Batch, look: Look | None = None) -> Processed:
        """What becomes of a batch; raises ServerErrors for a server that a step needs, never for a record's failure.

        `look` is shown the records as they came, before the first step, and may let entries fail.
        """
        failures: Failures = {}
        if self._decoder is None:
            return Processed(None, failures, raw=True)
        rows = self._decoder.decode(batch, failures)
        if look is not None:
            look(rows, failures)
            rows = rows.without(failures)
        for number, step in enumerate(self._steps, start=1):
            if not rows:
                break
            rows = await stepped(step, rows, failures, self._decoder.headers(batch), batch.entry)
            if number < len(self._steps) and not (isinstance(step, Each) and step.unchanged):
                rows = _finite(rows, failures)
        if self._sink and rows.notes is not None:
            refuse_notes(rows, failures, NO_STREAMS)
        return Processed(rows, failures, raw=self._raw and self._decoder.takes_bytes(batch))


async def start_steps(steps: Iterable[Step | OfTable]) -> None:
    """Start those steps that have something to start; if one cannot be, those that were are closed again."""
    started: list[Step | OfTable] = []
    try:
        for step in steps:
            await step.start()
            started.append(step)
    except BaseException:
        await close_steps(started)
        raise


async def close_steps(steps: Iterable[Step | OfTable]) -> None:
    """Close what they opened."""
    for step in steps:
        await step.close()


async def stepped(
    step: Step,
    rows: Rows,
    failures: Failures,
    headers: Callable[[int], Headers],
    entry: Callable[[int], Entry] | None = None,
    *,
    numbered: bool = True,
) -> Rows:
    """The rows after a step; `failures` gets what it could not process.

    An entry and its headers are told by its place; the entries only concern steps that want a context, as does whether
    the rows of an entry come in the same number and order whenever they come.
    """
    if step.context is not None:
        given: Sequence[Any] = list(
            zip(rows.records, _contexts(step.context, rows, headers, entry, numbered), strict=True)
        )
    elif isinstance(step, Each) and step.needs_headers:
        given = rows.with_headers(headers)
    else:
        given = rows.records
    outcomes = _of_each(step, given) if isinstance(step, Each) else await _of_whole(step, given)
    return sorted_out(rows, outcomes, failures, apart=isinstance(step, Each) and step.over is not None)


def _contexts(
    setup: SetupContext,
    rows: Rows,
    headers: Callable[[int], Headers],
    entry: Callable[[int], Entry] | None,
    numbered: bool,
) -> list[Context]:
    if entry is None:
        raise RuntimeError("a step wants a context, and was not told its entries")
    return contexts_of(setup, rows, entry, headers, numbered=numbered)


def _of_each(step: Each, records: Sequence[Any]) -> Sequence[object]:
    """What became of each record, or the exception that it met."""
    if step.over is not None:
        try:
            return step.over(records)
        except Exception:  # noqa: BLE001, S110 - without effects: so it is harmless to look for the culprit one by one
            pass
    apply = step.apply
    outcomes: list[object] = []
    for record in forks.told_to_end(records):
        try:
            outcomes.append(apply(record))
        except BaseException as exc:  # noqa: BLE001 - a step may raise anything; it is the record's failure
            outcomes.append(_explained(step, failure_of(exc)))
    forks.leave_if_child()
    return outcomes


def _explained(step: Each, exc: Exception) -> Exception:
    if step.explain is None or (isinstance(exc, RecordError) and not isinstance(exc, ExpressionError)):
        return exc
    try:
        return step.explain(exc)
    except Exception:  # noqa: BLE001 - an exception that cannot be shown cannot be explained
        return exc


async def _of_whole(step: Whole, records: Sequence[Any]) -> Sequence[object]:
    try:
        return await step.apply(records)
    except ServerError:
        raise  # one that a step needs is away, or refuses us: no record is at fault, and none is to be buried for it
    except Exception as exc:  # noqa: BLE001 - the batch failed as one: find out whose fault it is
        if len(records) == 1:
            return [failure_of(exc)]
        return [outcome for record in records for outcome in await _of_whole(step, [record])]


def _finite(rows: Rows, failures: Failures) -> Rows:
    """The rows without a NaN, which fails before the next step compares with it; after the last, encoding sees it."""
    for origin, record in zip(rows.origins, rows.records, strict=True):
        try:
            refuse_non_finite(record)
        except RecordError as exc:
            failures[origin] = exc
    return rows.without(failures)
