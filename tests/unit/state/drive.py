"""Drives a keyed step as its stage does: a dict is the server's hash, another one its timers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from papyra_flow.records.emit import Emit
from papyra_flow.spec.components import SetupContext
from papyra_flow.state.event_time import END_OF_TIME
from papyra_flow.state.store import Store, Timer
from papyra_flow.steps.base import StepConfig
from papyra_flow.steps.keyed import Keyed, KeyedRows, Late, TimedRecord
from papyra_flow.streams.commit.operations import DeleteState, DeleteTimer, PutState, SetTimer

CONTEXT = SetupContext(Path())


class Row(NamedTuple):
    """A record as it comes, with its event time and the watermark as of then, in milliseconds."""

    record: dict[str, Any]
    time: int = 0
    watermark: int = -(2**53)


class Driver:
    """A keyed step with its state in one partition."""

    def __init__(self, config: StepConfig, *, size: int = 500, portion: int = 100, forgets: bool = False) -> None:
        keyed = config.build_keyed(CONTEXT)
        assert keyed is not None
        self.keyed: Keyed = keyed
        self.size = size
        self.portion = portion
        self.forgets = forgets
        """Whether nothing is remembered from one batch to the next, as if each had a new owner."""
        self.hash: dict[bytes, bytes] = {}
        self.timers: dict[bytes, int] = {}
        self.store = Store()
        self.outcomes: list[object] = []
        """All that left, in its order: of rows that became nothing, nothing."""

    # -- what a test asks -------------------------------------------------------------------------------------

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records that left."""
        return [dict(record) for record in self._records(self.outcomes)]

    @property
    def late(self) -> list[Late]:
        """Records that came too late."""
        return [one for one in self.outcomes if isinstance(one, Late)]

    @property
    def failures(self) -> list[Exception]:
        """What records met."""
        return [one for one in self.outcomes if isinstance(one, Exception)]

    @property
    def times(self) -> list[int]:
        """The event times of records that have their own."""
        return [one.time for one in self.outcomes if isinstance(one, TimedRecord)]

    def run(self, rows: Iterable[Row], *, end: bool = True) -> Driver:
        """Process rows in batches, and let time end."""
        rows = list(rows)
        for start in range(0, len(rows), self.size):
            batch = rows[start : start + self.size]
            self.batch(batch)
            self.advance(batch[-1].watermark)
        if end:
            self.advance(END_OF_TIME)
        return self

    def batch(self, rows: Sequence[Row]) -> list[object]:
        """Process rows as one batch; what became of each."""
        step = self.keyed.step
        prepared = step.prepare(
            KeyedRows([row.record for row in rows], [row.time for row in rows], [row.watermark for row in rows])
        )
        self._load(step.fields(prepared))
        outcomes = list(step.apply(prepared, self.store))
        assert len(outcomes) == len(rows)
        self._commit()
        self.outcomes += [one for one in outcomes if one is not None]
        return outcomes

    def advance(self, watermark: int) -> None:
        """Let the watermark get there: timers go off in portions, in their order."""
        step = self.keyed.step
        while due := self._due(watermark)[: self.portion]:
            self._load(step.fields_of(due))
            outcomes = step.fire(due, watermark, self.store)
            assert len(outcomes) == len(due)
            self.outcomes += [one for one in outcomes if one is not None]
            for timer in due:
                del self.timers[timer.member]
            self._commit()

    # -- what a server and an owner do ------------------------------------------------------------------------

    def _due(self, watermark: int) -> list[Timer]:
        due = sorted((at, member) for member, at in self.timers.items() if at <= watermark)
        return [Timer(at, member) for at, member in due]

    def _load(self, fields: Iterable[bytes]) -> None:
        missing = self.store.missing(fields)
        self.store.load(missing, [self.hash.get(field) for field in missing])

    def _commit(self) -> None:
        changes = self.store.changes()
        for operation in changes.operations:
            match operation:
                case PutState(_, field, value):
                    self.hash[field] = value
                case DeleteState(_, field):
                    self.hash.pop(field, None)
                case SetTimer(_, at, member):
                    self.timers[member] = at
                case DeleteTimer(_, member):
                    self.timers.pop(member, None)
        self.store.settled(changes)
        if self.forgets:
            self.store.forget()

    def _records(self, outcomes: Iterable[object]) -> Iterator[Mapping[str, Any]]:
        for one in outcomes:
            if isinstance(one, TimedRecord):
                yield one.record
            elif isinstance(one, Emit):
                yield one.record  # type: ignore[misc]
            elif isinstance(one, list):
                yield from self._records(one)
            elif isinstance(one, dict):
                yield one


def in_order(times: Sequence[int], *, lag: int = 0) -> list[int]:
    """Watermarks of a source with these times: the largest so far, less a lag."""
    found: list[int] = []
    for time in times:
        found.append(max(found[-1] if found else -(2**53), time - lag))
    return found
