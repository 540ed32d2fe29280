"""`dedupe`: of all records with the same key, the first one passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from papyra_flow.expressions.fields import Expression
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.spec.names import Name
from papyra_flow.spec.units import Duration, format_duration
from papyra_flow.state.key_column import KeyColumn
from papyra_flow.state.memory import RecentFirsts, is_first_ever
from papyra_flow.state.store import Store, Timer
from papyra_flow.steps.base import Step, StepConfig
from papyra_flow.steps.keyed import Keyed, KeyedRows
from papyra_flow.steps.lateness import late, late_stream, milliseconds


class Dedupe(StepConfig):
    """Let the first record of each key pass; the others are dropped, and counted.

    With `within` that is asked for a time only: a record passes if no record of its key that passed lies within that
    time of it, in event time, the time itself included. Without it every key is remembered for ever. A record whose key
    is null fails.
    """

    name: ClassVar[str] = "dedupe"
    main: ClassVar[str] = "by"

    by: Annotated[list[Expression], OneOrMany()] = Field(
        min_length=1, description="What records have in common: a field or an expression, or a list of them."
    )
    within: Duration | None = Field(None, description="How long a record is remembered, in event time; else for ever.")
    grace: Duration | None = Field(
        None, description="How far behind the watermark a record may be; one further behind is late (as `within`)."
    )
    late_to: Name = Field("dead", description="Where late records go: `dead`, `drop`, or a stream.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        KeyColumn("by", self.by)
        if self.within is None and self.grace is not None:
            raise ValueError("`grace` needs `within`: without it no record is late")
        if self.within == 0:
            raise ValueError("`within` must be longer than 0")
        return self

    def describe(self) -> str:
        """Key and time."""
        within = "" if self.within is None else f" within {format_duration(self.within)}"
        return f"dedupe: {', '.join(self.by)}{within}"

    @property
    def keeps_state(self) -> bool:
        """It remembers keys."""
        return True

    @property
    def closes(self) -> bool:
        """Its timers only forget."""
        return False

    @property
    def goes_by_time(self) -> bool:
        """Where it forgets."""
        return self.within is not None

    @property
    def late_stream(self) -> str | None:
        """Where `late_to` names one."""
        return late_stream(self.late_to)

    def build(self, context: SetupContext) -> Step:
        """Refused: it remembers what it has seen."""
        raise ValueError("`dedupe` keeps state: it runs only in a stage that owns its partitions")

    def build_keyed(self, context: SetupContext) -> Keyed:
        """The step with what it remembers."""
        keys = KeyColumn("by", self.by)
        if self.within is None:
            return Keyed(
                _Ever(keys),
                shape=f"dedupe by {keys.meaning}",
                grows="`dedupe` without `within` remembers every key for ever",
                partition_by=tuple(self.by),
                unchanged=True,
            )
        within = milliseconds(self.within)
        grace = within if self.grace is None else milliseconds(self.grace)
        return Keyed(
            _Within(keys, grace, RecentFirsts(within, grace)),
            shape=f"dedupe by {keys.meaning} within {within} ms",
            late_to=self.late_to,
            partition_by=tuple(self.by),
            unchanged=True,
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    rows: KeyedRows
    keys: Sequence[bytes | Exception]


@dataclass(frozen=True, slots=True)
class _Ever:
    """What has been seen, for ever: no timers."""

    keys: KeyColumn

    def prepare(self, rows: KeyedRows) -> _Prepared:
        return _Prepared(rows, self.keys.required(rows.records))

    def fields(self, prepared: _Prepared) -> Iterable[bytes]:
        return [key for key in prepared.keys if isinstance(key, bytes)]

    def apply(self, prepared: _Prepared, store: Store) -> Sequence[object]:
        return [
            (record if is_first_ever(store, key) else None) if isinstance(key, bytes) else key
            for key, record in zip(prepared.keys, prepared.rows.records, strict=True)
        ]

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        return ()

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        return [None] * len(timers)


@dataclass(frozen=True, slots=True)
class _Within(_Ever):
    """What has been seen within a time."""

    grace: int
    firsts: RecentFirsts

    def apply(self, prepared: _Prepared, store: Store) -> Sequence[object]:
        rows, outcomes = prepared.rows, list[object]()
        for key, record, time, watermark in zip(prepared.keys, rows.records, rows.times, rows.watermarks, strict=True):
            if not isinstance(key, bytes):
                outcomes.append(key)
            elif time + self.grace < watermark:
                outcomes.append(late(time, watermark, self.grace))
            else:
                outcomes.append(record if self.firsts.is_first(store, key, time) else None)
        return outcomes

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        return self.firsts.fields_of(timers)

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        self.firsts.forget(store, timers)
        return [None] * len(timers)
