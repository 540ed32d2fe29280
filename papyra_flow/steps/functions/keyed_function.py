"""A step function that remembers something of a key: `run` with `key`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from papyra_flow.errors import RecordError
from papyra_flow.records.emit import Emit
from papyra_flow.spec.components import SetupContext
from papyra_flow.state.event_time import END_OF_TIME
from papyra_flow.state.fields import without_last
from papyra_flow.state.key_column import KeyColumn
from papyra_flow.state.key_state import key_of
from papyra_flow.state.store import Store, Timer
from papyra_flow.steps.context import TIME
from papyra_flow.steps.functions.signature import timer_signature
from papyra_flow.steps.functions.stateful_call import Job, StatefulCall
from papyra_flow.steps.functions.step_function import Function, StepFunction, served
from papyra_flow.steps.keyed import Keyed, KeyedRows, TimedRecord


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch, and the key of each row."""

    rows: KeyedRows
    keys: Sequence[bytes | RecordError]


class KeyedFunction:
    """The function as a keyed step, and what its timers call."""

    def __init__(self, keys: KeyColumn, call: StatefulCall, on_timer: StatefulCall | None) -> None:
        self._keys = keys
        self._call = call
        self._on_timer = on_timer

    @property
    def awaits(self) -> bool:
        """Whether it has to be awaited."""
        return self._call.awaits or (self._on_timer is not None and self._on_timer.awaits)

    def prepare(self, rows: KeyedRows) -> Prepared:
        """Evaluate the keys."""
        return Prepared(rows, self._keys.required(rows.records))

    def fields(self, prepared: Prepared) -> Iterable[bytes]:
        """One for each key."""
        return [key for key in prepared.keys if isinstance(key, bytes)]

    def apply(self, prepared: Prepared, store: Store) -> Sequence[object]:
        """Call the function with each row."""
        return self._call.all(store, self._jobs(prepared))

    async def apply_async(self, prepared: Prepared, store: Store) -> Sequence[object]:
        """The same, where it has to be awaited."""
        call = self._call.all_async if self._call.awaits else _now(self._call)
        return await call(store, self._jobs(prepared))

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        """One for each key."""
        return [without_last(timer.member)[0] for timer in timers]

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """Call what timers call; at the end of time each of them goes off once, and sets none again."""
        if (call := self._timed(watermark)) is None:
            return [None] * len(timers)
        return _at_their_times(timers, call.all(store, _calls(timers)))

    async def fire_async(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """The same, where it has to be awaited."""
        if (call := self._timed(watermark)) is None:
            return [None] * len(timers)
        run = call.all_async if call.awaits else _now(call)
        return _at_their_times(timers, await run(store, _calls(timers)))

    def _timed(self, watermark: int) -> StatefulCall | None:
        ended = watermark >= END_OF_TIME
        return replace(self._on_timer, ended=ended) if self._on_timer is not None and ended else self._on_timer

    def _jobs(self, prepared: Prepared) -> list[Job | Exception]:
        rows = prepared.rows
        contexts: Sequence[object] = rows.contexts or [None] * len(rows.records)
        return [
            Job(key, time, (record,), context) if isinstance(key, bytes) else key
            for key, record, time, context in zip(prepared.keys, rows.records, rows.times, contexts, strict=True)
        ]


def keyed_function(
    function: StepFunction, key: Sequence[str], on_timer: Function | None, label: str, context: SetupContext
) -> Keyed:
    """The function as a keyed step; `label` names what its timers call. Raises ValueError if one does not fit."""
    signature = function.signature
    if signature.frame:
        raise ValueError(f"{function.label} takes a table: with `key` it takes a record")
    function.refuse_timeout(signature)
    if on_timer is not None and served(on_timer) is not None:
        raise ValueError(f"{label} has to be a function")
    keys = KeyColumn("key", key)
    options = {"thread": function.thread, "timeout": function.timeout, "concurrency": function.concurrency}
    call = StatefulCall(function.call, signature, waits=on_timer is not None, **options)  # type: ignore[arg-type]
    timed = None
    if on_timer is not None:
        timed = StatefulCall(on_timer, timer_signature(on_timer, label), waits=True, **options)  # type: ignore[arg-type]
    step = KeyedFunction(keys, call, timed)
    host = function.host
    return Keyed(
        step,
        shape=f"run by {keys.meaning}",
        partition_by=tuple(key),
        awaits=step.awaits,
        context=context if signature.context is not None else None,
        start=host.start if host is not None else None,
        close=host.close if host is not None else None,
    )


def _now(call: StatefulCall) -> Any:
    """Calls that need not be awaited, where others have to be."""

    async def all_at_once(store: Store, jobs: Sequence[Job | Exception]) -> list[object]:
        return call.all(store, jobs)

    return all_at_once


def _calls(timers: Sequence[Timer]) -> list[Job | Exception]:
    calls: list[Job | Exception] = []
    for timer in timers:
        field, name = without_last(timer.member)
        calls.append(Job(field, timer.at, (key_of(field), name)))
    return calls


def _at_their_times(timers: Sequence[Timer], outcomes: Sequence[object]) -> list[object]:
    return [_timed(outcome, timer.at) for timer, outcome in zip(timers, outcomes, strict=True)]


def _timed(outcome: object, at: int) -> object:
    """What a timer gave, with the time at which it was to go off."""
    if isinstance(outcome, dict | BaseModel):
        return TimedRecord(outcome, at)  # type: ignore[arg-type]
    if isinstance(outcome, Emit):
        return replace(outcome, headers={TIME: str(at), **(outcome.headers or {})})
    if isinstance(outcome, list | tuple):
        return [_timed(part, at) for part in outcome]
    return outcome
