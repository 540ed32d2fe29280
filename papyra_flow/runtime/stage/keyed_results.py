"""What a keyed step's outcomes stand for: late records, records with a time of their own, what went into the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from papyra_flow.errors import LateError
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import Record
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.steps.keyed import Late, TimedRecord
from papyra_flow.streams.commit.commit import NOWHERE


class Settled(NamedTuple):
    """Outcomes as other steps have them, and how many of them were late, not counting those that fail for it."""

    found: Sequence[object]
    late: int = 0


def settled(outcomes: Sequence[object], records: Sequence[Record], late_to: str) -> Settled:
    """Outcomes of these records as other steps have them; `late_to` is where late ones go."""
    kinds = set(map(type, outcomes))
    if Late not in kinds and TimedRecord not in kinds and not kinds & {list, tuple}:
        return Settled(outcomes)
    found: list[object] = []
    late = 0
    for outcome, record in zip(outcomes, records, strict=True):
        if isinstance(outcome, Late):
            found.append(_late(outcome, record, late_to))
            late += late_to != "dead"
        else:
            found.append(_untimed(outcome))
    return Settled(found, late)


def _late(late: Late, record: Record, late_to: str) -> object:
    if late_to == "drop":
        return None
    return LateError(late.reason) if late_to == "dead" else Emit(record, to=late_to)


def _untimed(outcome: object) -> object:
    if isinstance(outcome, TimedRecord):
        return outcome.record
    if isinstance(outcome, list):
        return [_untimed(part) for part in outcome]
    return outcome


def absorbed(outcome: Outcome) -> Outcome:
    """The outcome where what went into the state does not count as dropped."""
    if outcome.became:
        outcome.became = {
            place: became if became.emitted or became.payloads else replace(became, dropped=0)
            for place, became in outcome.became.items()
        }
    if NOWHERE in outcome.targets:
        done = [entry_id for entry_id, target in zip(outcome.ids, outcome.targets, strict=True) if target == NOWHERE]
        keep = [place for place, target in enumerate(outcome.targets) if target != NOWHERE]
        outcome.done = [*outcome.done, *done]
        outcome.ids = [outcome.ids[place] for place in keep]
        outcome.data = [outcome.data[place] for place in keep]
        outcome.targets = [outcome.targets[place] for place in keep]
    return outcome
