"""What a step's answers stand for: records, models, `Emit`s, nothing, exceptions, or iterables of those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import is_

from pydantic import BaseModel

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import Record
from papyra_flow.records.rows import Failures, Note, Rows
from papyra_flow.steps.functions.calls import bounded, contained

NO_STREAMS = "Emit: `to`, `key` and `headers` are for streams, and this stage writes to a sink"


def sorted_out(rows: Rows, outcomes: Sequence[object], failures: Failures, *, apart: bool) -> Rows:
    """The rows after a step, from what it made of each: a record, None, an exception, or more than one record.

    `apart` says that the step is known to make a new record of each.
    """
    kinds = set(map(type, outcomes))
    if kinds == {dict}:
        # Most steps give back what they got, which is one object for each.
        if apart or all(map(is_, outcomes, rows.records)) or len(set(map(id, outcomes))) == len(outcomes):
            return Rows(outcomes, rows.origins, rows.notes)  # type: ignore[arg-type]
    elif kinds <= {dict, type(None)}:
        kept = Rows(outcomes, rows.origins, rows.notes)  # type: ignore[arg-type]
        kept = kept.only([outcome is not None for outcome in outcomes])
        if apart or len(set(map(id, kept.records))) == len(kept.records):
            return kept
    return _expanded(rows, outcomes if apart else _without_shared(outcomes), failures)


def _without_shared(outcomes: Sequence[object]) -> Sequence[object]:
    """The outcomes, with a failure in place of each that shares a record with another, or holds one twice.

    A dict that was returned for one record, changed and returned for the next is the last one for both: what it was
    before is lost, undetectably.
    """
    uses = Counter(id(thing) for outcome in outcomes for thing in _changeable(outcome))
    if len(uses) == uses.total():
        return outcomes
    return [
        _shared(max(uses[id(thing)] for thing in things))
        if (things := list(_changeable(outcome))) and any(uses[id(thing)] > 1 for thing in things)
        else outcome
        for outcome in outcomes
    ]


def _shared(count: int) -> RecordError:
    return RecordError(
        f"the step returned the same object for {count} records, so that each holds the values of the last; "
        "return a new dict for every record"
    )


def _changeable(outcome: object) -> Iterator[object]:
    """The objects in an outcome that a step may have changed after it gave them to us."""
    if isinstance(outcome, list | tuple):
        if outcome and isinstance(outcome, list):
            yield outcome
        for part in outcome:
            yield from _changeable_record(part)
    else:
        yield from _changeable_record(outcome)


def _changeable_record(part: object) -> Iterator[object]:
    found = part.record if isinstance(part, Emit) else part
    if isinstance(found, dict) or (isinstance(found, BaseModel) and not found.model_config.get("frozen")):
        yield found


def _expanded(rows: Rows, outcomes: Sequence[object], failures: Failures) -> Rows:
    records: list[Record] = []
    origins: list[int] = []
    notes: list[Note | None] = []
    for index, outcome in enumerate(outcomes):
        origin, note = rows.origins[index], rows.notes[index] if rows.notes is not None else None
        if isinstance(outcome, Exception):
            failures[origin] = outcome
            continue
        try:
            made = contained(_all_parts, outcome, note)
        except Exception as exc:  # noqa: BLE001 - a generator may raise anything; it is the record's failure
            failures[origin] = exc
            continue
        for record, noted in made:
            records.append(record)
            origins.append(origin)
            notes.append(noted)
    return Rows(records, origins, notes if any(notes) else None)


def _all_parts(outcome: object, note: Note | None) -> list[tuple[Record, Note | None]]:
    return list(_parts(outcome, note))


def _parts(outcome: object, note: Note | None) -> Iterator[tuple[Record, Note | None]]:
    """What an outcome stands for: a record, a model, an `Emit`, or an iterable of those."""
    if outcome is None:
        return
    if isinstance(outcome, Mapping | BaseModel | Emit):
        yield _made(outcome, note)
    elif isinstance(outcome, Iterable) and not isinstance(outcome, str | bytes | bytearray):
        for part in bounded(outcome):
            if part is not None:
                yield _made(part, note)
    else:
        raise RecordError(f"a step returned {shown(outcome)}, not a record")


def _made(part: object, note: Note | None) -> tuple[Record, Note | None]:
    where = "returned"
    if isinstance(part, Emit):
        note, part, where = note_of(part, note), part.record, "returned an Emit of"
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json"), note
    if isinstance(part, Mapping):
        return dict(part), note
    raise RecordError(f"a step {where} {shown(part)}, not a record")


def note_of(emit: Emit, before: Note | None) -> Note | None:
    """What an `Emit` says of its record, on top of what one before it said; raises RecordError for what is wrong."""
    emit.check()
    to, headers = before or (None, None)
    if added := emit.all_headers():
        headers = {**(headers or {}), **added}
    to = emit.to if emit.to is not None else to
    return Note(to, headers) if to is not None or headers else None


def refuse_notes(rows: Rows, failures: Failures, reason: str) -> None:
    """Let every record fail for which an `Emit` says what cannot be done here."""
    for origin, note in zip(rows.origins, rows.notes or (), strict=False):
        if note is not None:
            failures[origin] = RecordError(reason)
