"""What a keyed step's outcomes stand for: late records, records with a time of their own, what went into the state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from types import NoneType
from typing import NamedTuple

from papyra_flow.errors import LateError
from papyra_flow.records.batch import Batch
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import Record
from papyra_flow.records.rows import Rows
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.steps.context import TIME
from papyra_flow.steps.keyed import KEPT, Late, TimedRecord
from papyra_flow.streams.commit.commit import NOWHERE


class Settled(NamedTuple):
    """Outcomes as other steps have them."""

    found: Sequence[object]
    kept: Collection[int] = ()
    """Places of the entries that went into the state, and that nothing has come of yet."""
    late: int = 0
    """How many were late, not counting those that fail for it."""


def settled(
    outcomes: Sequence[object], rows: Rows, late_to: str = "drop", times: Sequence[int] | None = None
) -> Settled:
    """Outcomes of these rows as other steps have them; `late_to` is where late ones go.

    `times` are the rows' event times, where what leaves has to carry its own.
    """
    kinds = set(map(type, outcomes))
    if kinds <= {dict, NoneType} and times is None:
        return Settled(outcomes)
    if kinds == {tuple} and not any(outcomes):
        return Settled([None] * len(outcomes), set(rows.origins))
    found: list[object] = []
    kept: set[int] = set()
    late = 0
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Late):
            found.append(_late(outcome, rows.records[place], late_to))
            late += late_to != "dead"
        elif outcome == KEPT:
            found.append(None)
            kept.add(rows.origins[place])
        else:
            found.append(_timed(outcome, times[place] if times is not None else None))
    return Settled(found, kept, late)


def _late(late: Late, record: Record, late_to: str) -> object:
    if late_to == "drop":
        return None
    return LateError(late.reason) if late_to == "dead" else Emit(record, to=late_to)


def _timed(outcome: object, time: int | None) -> object:
    """An outcome with its event time, if that has to go with it."""
    if isinstance(outcome, TimedRecord):
        return outcome.record if time is None else _with_time(Emit(outcome.record), outcome.time)
    if isinstance(outcome, list | tuple):
        return [_timed(part, time) for part in outcome]
    if time is not None and isinstance(outcome, dict):
        return _with_time(Emit(outcome), time)
    if time is not None and isinstance(outcome, Emit):
        return _with_time(outcome, time)
    return outcome


def _with_time(emit: Emit, time: int) -> Emit:
    return replace(emit, headers={TIME: str(time), **(emit.headers or {})})


def absorbed(outcome: Outcome, batch: Batch, kept: Collection[int]) -> Outcome:
    """The outcome of a batch, where entries that were `kept` in the state do not count as dropped."""
    if not kept:
        return outcome
    if outcome.became:
        outcome.became = {
            place: replace(became, dropped=0) if place in kept and not (became.emitted or became.payloads) else became
            for place, became in outcome.became.items()
        }
    if NOWHERE in outcome.targets:
        inside = {batch.ids[place] for place in kept}
        gone = [
            target == NOWHERE and entry_id in inside
            for entry_id, target in zip(outcome.ids, outcome.targets, strict=True)
        ]
        outcome.done = [*outcome.done, *(entry_id for entry_id, out in zip(outcome.ids, gone, strict=True) if out)]
        stays = [place for place, out in enumerate(gone) if not out]
        outcome.ids = [outcome.ids[place] for place in stays]
        outcome.data = [outcome.data[place] for place in stays]
        outcome.targets = [outcome.targets[place] for place in stays]
    return outcome
