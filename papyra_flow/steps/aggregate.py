"""`aggregate`: counts, sums and the like over the records of a key, in windows of time, sessions, or for ever."""

from __future__ import annotations

import json
from datetime import UTC, tzinfo
from typing import ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from papyra_flow.expressions.compiled import compile_expression, in_one_spelling
from papyra_flow.expressions.fields import Expression
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.names import Name
from papyra_flow.spec.units import Duration, format_duration
from papyra_flow.state.aggregates.calls import AggregateText, aggregate_call
from papyra_flow.state.local_windows import LocalWindows
from papyra_flow.state.windows import EvenWindows, TimeWindows, Window, WindowForm, whole_milliseconds
from papyra_flow.steps.aggregating.columns import ColumnMaker
from papyra_flow.steps.aggregating.counted import CountedStep
from papyra_flow.steps.aggregating.forms import Emit, NamedExpressions, Zone
from papyra_flow.steps.aggregating.groups import WINDOW_END, WINDOW_START, Groups
from papyra_flow.steps.aggregating.sessions import SessionStep
from papyra_flow.steps.aggregating.timed import TimedStep
from papyra_flow.steps.base import Step, StepConfig
from papyra_flow.steps.keyed import Keyed
from papyra_flow.steps.lateness import late_stream


class Aggregate(StepConfig):
    """Count, sum up or collect the records of each key, in windows or for ever.

    What leaves is a record of the group's fields, `window_start` and `window_end` where there is a window of time or a
    session, and `fields`. A record whose window has closed is late: `late_to` says where it goes.
    """

    name: ClassVar[str] = "aggregate"

    by: NamedExpressions = Field(
        {}, description="What records are grouped by: a field, an expression, a list of them, or `{name: expression}`; "
        "without it, all are one group.",
    )  # fmt: skip
    window: WindowForm | None = Field(
        None, description="A size such as `1m`, `{size: 5m, every: 1m}`, `{gap: 10m}` for sessions, or `{count: 100}`; "
        "without it, for ever.",
    )  # fmt: skip
    time: Expression | None = Field(
        None, description="The event time: ISO 8601 text, a date or datetime, or seconds since 1970 (the record's own)."
    )
    grace: Duration = Field(0, description="How long a window stays open behind the watermark.")
    fields: dict[str, AggregateText] = Field(
        min_length=1, description="Field names and their aggregates, such as `count()` or `sum(amount)`."
    )
    emit: Emit | None = Field(
        None, description="`final`: when the window closes (default with a window); `each`: behind each record "
        "(default without one); a duration: what has changed, that often.",
    )  # fmt: skip
    late_to: Name = Field("dead", description="Where late records go: `dead`, `drop`, or a stream.")
    offset: Duration = Field(
        0.0, description="How far windows are shifted from the epoch: `4d` makes weeks of Mondays."
    )
    tz: Zone | None = Field(None, description="A time zone, by whose clocks windows begin, such as `Europe/Berlin`.")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self._check_names()
        self._check_time_options()
        self._check_emit()
        for name, text in (("by", [*self.by.values()]), ("time", [self.time] if self.time is not None else [])):
            if any(compile_expression(one).needs_headers for one in text):
                raise ValueError(f"`{name}` cannot read headers: `set` a field to the header first")
        self._time_windows()
        return self

    def _check_names(self) -> None:
        taken = set(self.by)
        if self.window is not None and self.window.count is None:
            taken |= {WINDOW_START, WINDOW_END}
        for name in self.fields:
            if name in taken:
                raise ValueError(f"the field {name!r} is there twice: one of `fields` needs another name")
        if taken & {WINDOW_START, WINDOW_END} & set(self.by):
            raise ValueError(f"{WINDOW_START} and {WINDOW_END} are the window's: give the group's field another name")

    def _check_time_options(self) -> None:
        window = self.window
        timed = window is not None and window.count is None
        for name, fits, what in (
            ("grace", timed, "windows of time and sessions"), ("late_to", timed, "windows of time and sessions"),
            ("tz", timed, "windows of time and sessions"),
            ("offset", timed and window is not None and window.size is not None, "windows of a size"),
        ):  # fmt: skip
            if name in self.model_fields_set and getattr(self, name) and not fits:
                raise ValueError(f"`{name}` is for {what}")
        if self.grace:
            whole_milliseconds(self.grace, "grace")
        if self.offset:
            whole_milliseconds(self.offset, "offset")

    def _check_emit(self) -> None:
        if self.emit in {None, "final"} or self.window is None or self.window.size is not None:
            return
        if self.window.gap is not None:
            raise ValueError("sessions have only `emit: final`: what was given of two that merge would have to be "
                             "taken back")  # fmt: skip
        raise ValueError("windows of a count have only `emit: final`: one leaves when it is full")

    # -- what it becomes --------------------------------------------------------------------------------------

    @property
    def emits(self) -> Literal["final", "each"] | float:
        """When results leave: `final`, `each`, or every so many seconds."""
        return self.emit if self.emit is not None else "final" if self.window is not None else "each"

    def describe(self) -> str:
        """Functions, key and window."""
        by = f" by {', '.join(self.by)}" if self.by else ""
        window = f", {self.window}" if self.window is not None else ""
        return f"aggregate: {', '.join(self.fields.values())}{by}{window}"

    @property
    def keeps_state(self) -> bool:
        """It keeps what it has counted."""
        return True

    @property
    def adds_up(self) -> bool:
        """It counts each of them."""
        return True

    @property
    def goes_by_time(self) -> bool:
        """Unless it only counts, and gives that with each record."""
        calls = [aggregate_call(text) for text in self.fields.values()]
        timed = any(call.function.timed for call in calls)
        counted = self.window is not None and self.window.count is not None
        return (
            (self.window is not None and not counted)
            or self.emits not in {"each", "final"}
            or timed
            or (self.window is None and self.emits == "final")
        )

    @property
    def own_time(self) -> str | None:
        """The option `time`."""
        return self.time

    @property
    def late_stream(self) -> str | None:
        """Where `late_to` names one."""
        return late_stream(self.late_to)

    def build(self, context: SetupContext) -> Step:
        """Refused: it never runs in a stage that shares its input."""
        raise ValueError("`aggregate` keeps state: its stage owns partitions of its input")

    def build_keyed(self, context: SetupContext) -> Keyed:
        """The step, and what its stage has to know of it."""
        emits, window = self.emits, self.window
        calls = [aggregate_call(text) for text in self.fields.values()]
        zone: tzinfo = self._zone or UTC
        groups = Groups(list(self.by), calls, list(self.fields), zone)
        columns = ColumnMaker(list(self.by.values()), calls)
        grace = round(self.grace * 1000)
        step: TimedStep | SessionStep | CountedStep
        if window is not None and window.gap is not None:
            step = SessionStep(columns, groups, whole_milliseconds(window.gap, "gap"), grace)
        elif window is not None and window.count is not None:
            step = CountedStep(columns, groups, window.count)
        else:
            emission = whole_milliseconds(emits, "emit") if isinstance(emits, float) else emits
            step = TimedStep(columns, groups, self._time_windows(), grace, emission, keyed=bool(self.by))
        return Keyed(
            step,
            shape=self._shape(),
            upsert_by=self._upsert_by(),
            late_to=self.late_to,
            windows=window.words if window is not None else None,
            grows=self._grows(),
            partition_by=tuple(self.by.values()),
        )

    def _upsert_by(self) -> tuple[str, ...] | None:
        if self.emits == "final":
            return None
        return (*self.by, WINDOW_START) if self.window is not None else tuple(self.by)

    def _grows(self) -> str | None:
        if self.window is None:
            return "an aggregate without a window keeps every key" if self.by else None
        return "the last window of every key is kept until it is full" if self.window.count is not None else None

    def _shape(self) -> str:
        emits = self.emits if isinstance(self.emits, str) else "changes"
        window = self.window.model_dump(mode="json", exclude_none=True) if self.window is not None else None
        return json.dumps(
            {
                "step": self.name,
                "by": [in_one_spelling(text) for text in self.by.values()],
                "time": in_one_spelling(self.time) if self.time is not None else None,
                "window": window,
                "offset": format_duration(self.offset),
                "tz": self.tz,
                "emit": emits,
                "fields": [aggregate_call(text).meaning for text in self.fields.values()],
            }
        )

    @property
    def _zone(self) -> ZoneInfo | None:
        return ZoneInfo(self.tz) if self.tz is not None else None

    def _time_windows(self) -> TimeWindows | None:
        window: Window | None = self.window
        if window is None or window.size is None:
            return None
        size = whole_milliseconds(window.size, "size")
        every = whole_milliseconds(window.every, "every") if window.every is not None else None
        offset = round(self.offset * 1000)
        if self._zone is not None:
            return LocalWindows(self._zone, size, every, offset)
        return EvenWindows(size, every, offset)
