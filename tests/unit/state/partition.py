"""A keyed step over a partition without a server: dicts in its place, batches and commits as the partition's owner."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import TypeAdapter

from papyra_flow.records.emit import Emit
from papyra_flow.spec.choice import OneOf
from papyra_flow.spec.components import STEPS, Component, SetupContext
from papyra_flow.state.store import DEFAULT_BUDGET, Store, Timer
from papyra_flow.steps.base import StepConfig
from papyra_flow.steps.keyed import KEPT, Keyed, KeyedRows, Late, TimedRecord
from papyra_flow.streams.commit.operations import DeleteState, DeleteTimer, PutState, SetTimer

END_OF_TIME = 2**62
PORTION = 3
"""Due timers that are fired at a time: few, so that there is more than one portion of them."""


class Row(NamedTuple):
    """A record as it comes to the step."""

    record: dict[str, Any]
    time: int = 0
    watermark: int = -(2**62)
    stream: str = ""


class Out(NamedTuple):
    """What left, and the event time that the step gave it."""

    record: dict[str, Any]
    time: int | None = None


def made(raw: object, folder: Path = Path()) -> StepConfig:
    """A step's model, from what a file would say."""
    step = TypeAdapter(Annotated[Component, OneOf(STEPS)]).validate_python(raw)
    assert isinstance(step, StepConfig)
    return step


def keyed(raw: object, context: SetupContext | None = None) -> Keyed:
    """A keyed step, from what a file would say."""
    found = made(raw).build_keyed(context or SetupContext(Path(), "shop", "stage"))
    assert found is not None
    return found


def in_order_of_time(rows: Iterable[tuple[dict[str, Any], int]], stream: str = "") -> list[Row]:
    """Rows as a source has them: the watermark is the largest time that it has read before."""
    found, watermark = [], -(2**62)
    for record, time in rows:
        found.append(Row(record, time, watermark, stream))
        watermark = max(watermark, time)
    return found


@dataclass
class Partition:
    """One partition's owner; `twice` takes every batch back once before it is committed."""

    keyed: Keyed
    batch: int = 100
    budget: int = DEFAULT_BUDGET
    twice: bool = False
    hash: dict[bytes, bytes] = field(default_factory=dict)
    timers: dict[bytes, int] = field(default_factory=dict)
    outs: list[Out] = field(default_factory=list)
    late: list[dict[str, Any]] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    dropped: int = 0
    kept: int = 0
    puts: int = 0

    def __post_init__(self) -> None:
        self.store = Store(self.budget)

    def run(self, rows: Sequence[Row]) -> Partition:
        """Go through rows in batches of one stream each, and fire what is due after each of them."""
        for stream, of_stream in groupby(rows, key=lambda row: row.stream):
            for batch in _batches(list(of_stream), self.batch):
                self._process(stream, batch)
                self.advance(batch[-1].watermark)
        return self

    def end(self) -> Partition:
        """All input has come."""
        return self.advance(END_OF_TIME)

    def advance(self, watermark: int) -> Partition:
        """Fire all timers that the watermark has got to."""
        while due := sorted((at, member) for member, at in self.timers.items() if at <= watermark)[:PORTION]:
            timers = [Timer(at, member) for at, member in due]
            self._load(self.keyed.step.fields_of(timers))
            for _ in range(1 + self.twice):
                self.store.rollback()
                for timer in timers:
                    self.store.delete_timer(timer.member)
                outcomes = self._fire(timers, watermark)
            for outcome in outcomes:
                self._take(outcome, None)
            self._commit()
        return self

    def take_back(self, rows: Sequence[Row]) -> None:
        """Go through a batch that is not committed: a step behind failed."""
        prepared = self._prepare(rows[0].stream, [row.record for row in rows], rows)
        self._apply(prepared)
        self.store.rollback()

    def _prepare(self, stream: str, records: list[dict[str, Any]], batch: Sequence[Row]) -> object:
        rows = KeyedRows(records, [row.time for row in batch], [row.watermark for row in batch], stream)
        prepared: object = self.keyed.step.prepare(rows)
        self._load(self.keyed.step.fields(prepared))
        return prepared

    def _process(self, stream: str, batch: Sequence[Row]) -> None:
        records = [copy.deepcopy(row.record) for row in batch]
        prepared = self._prepare(stream, records, batch)
        for _ in range(1 + self.twice):
            self.store.rollback()
            outcomes = self._apply(prepared)
        assert len(outcomes) == len(batch)
        for outcome, record in zip(outcomes, records, strict=True):
            self._take(outcome, record)
        self._commit()

    def _apply(self, prepared: object) -> Sequence[object]:
        step: Any = self.keyed.step
        if self.keyed.awaits:
            return list(asyncio.run(step.apply_async(prepared, self.store)))
        return step.apply(prepared, self.store)  # type: ignore[no-any-return]

    def _fire(self, timers: Sequence[Timer], watermark: int) -> Sequence[object]:
        step: Any = self.keyed.step
        if self.keyed.awaits:
            return list(asyncio.run(step.fire_async(timers, watermark, self.store)))
        return step.fire(timers, watermark, self.store)  # type: ignore[no-any-return]

    def _load(self, fields: Iterable[bytes]) -> None:
        missing = self.store.missing(fields)
        self.store.load(missing, [self.hash.get(one) for one in missing])

    def _take(self, outcome: object, came: dict[str, Any] | None) -> None:
        if outcome is None:
            self.dropped += came is not None
        elif outcome == KEPT and isinstance(outcome, tuple):
            self.kept += 1
        elif isinstance(outcome, Late):
            assert came is not None
            self.late.append(came)
        elif isinstance(outcome, Exception):
            self.failed.append(outcome)
        elif isinstance(outcome, TimedRecord):
            self._leave(outcome.record, outcome.time)
        elif isinstance(outcome, Emit):
            at = (outcome.headers or {}).get("ts")
            self._leave(outcome.record, int(at) if at is not None else None)
        elif isinstance(outcome, dict):
            self._leave(outcome, None)
        else:
            for one in _iterable(outcome):
                self._take(one, came)

    def _leave(self, record: Any, time: int | None) -> None:
        self.outs.append(Out(copy.deepcopy(record), time))
        _spoil(record)  # a step behind may change what it gets: no state may come to hear of it

    def _commit(self) -> None:
        changes = self.store.changes()
        for operation in changes.operations:
            match operation:
                case PutState(_, name, value):
                    self.hash[name] = value
                    self.puts += 1
                case DeleteState(_, name):
                    self.hash.pop(name, None)
                case SetTimer(_, at, member):
                    self.timers[member] = at
                case DeleteTimer(_, member):
                    self.timers.pop(member, None)
        self.store.settled(changes)


def _batches(rows: list[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _iterable(outcome: object) -> Iterable[object]:
    assert isinstance(outcome, Iterable), outcome
    return outcome


def _spoil(value: Any) -> None:
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _spoil(inner)
    if isinstance(value, dict):
        value["spoilt"] = True
    elif isinstance(value, list):
        value.append("spoilt")
