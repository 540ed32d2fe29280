"""`join`: records of two streams that have a key in common, and lie close enough to each other in event time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from papyra_flow.errors import RecordError
from papyra_flow.expressions.fields import Expression
from papyra_flow.records.entries import Record
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.spec.names import Name
from papyra_flow.spec.units import Duration, format_duration
from papyra_flow.state.interval_join import IntervalJoin, Waiting
from papyra_flow.state.key_column import KeyColumn, Keys
from papyra_flow.state.record_texts import record_of, texts_of
from papyra_flow.state.store import Store, Timer
from papyra_flow.steps.base import Step, StepConfig
from papyra_flow.steps.keyed import KEPT, Keyed, KeyedRows, TimedRecord
from papyra_flow.steps.lateness import late, late_stream, milliseconds

_ALONE: Mapping[str, tuple[bool, bool]] = {"inner": (False, False), "left": (True, False), "outer": (True, True)}


class Join(StepConfig):
    """Pair records of two streams whose keys are equal and whose event times lie at most `within` apart.

    Every such pair leaves once, at the later of both times, as one record that holds both, each under its stream's name
    or as `into` says. What meets no other in a `left` (of the stream named first) or `outer` join leaves when `within`
    and `grace` have passed, with null for the other. As in SQL a key that is null equals no other: its record leaves at
    once where it may leave alone, and is dropped elsewhere.
    """

    name: ClassVar[str] = "join"

    on: dict[Name, Annotated[list[Expression], OneOrMany()]] = Field(
        description="The two streams, and for each what is to be equal: a field or an expression, or a list of them."
    )
    within: Duration = Field(description="How far apart two event times may lie.")
    kind_: Literal["inner", "left", "outer"] = Field(
        "inner",
        alias="kind",
        description="What leaves without another: nothing, records of the first stream, or those of both.",
    )
    into: dict[Name, Annotated[str, Field(min_length=1)]] = Field(
        {}, description="The field for each stream's record (the stream's name)."
    )
    grace: Duration = Field(
        0.0, description="How far behind the watermark a record may be; one further behind is late."
    )
    late_to: Name = Field("dead", description="Where late records go: `dead`, `drop`, or a stream.")

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if len(self.on) != 2:
            raise ValueError(
                f"`on` needs two streams, such as {{orders: order, payments: order_id}}, not {len(self.on)}"
            )
        (left, first), (right, second) = self.on.items()
        if not first or len(first) != len(second):
            raise ValueError(f"`on` compares {len(first)} of {left!r} with {len(second)} of {right!r}")
        for texts in self.on.values():
            KeyColumn("on", texts)
        if unknown := sorted(set(self.into) - set(self.on)):
            raise ValueError(f"`into` names {unknown[0]!r}, which is not in `on`: {left}, {right}")
        if len(set(self._names)) != 2:
            raise ValueError(f"both records would be the field {self._names[0]!r}: say `into` for both streams")
        return self

    @property
    def _names(self) -> tuple[str, str]:
        """The fields of the two records."""
        left, right = (self.into.get(stream, stream) for stream in self.on)
        return left, right

    def describe(self) -> str:
        """Streams, keys and time."""
        sides = ", ".join(f"{stream} on {', '.join(texts)}" for stream, texts in self.on.items())
        kind = "" if self.kind_ == "inner" else f"{self.kind_} "
        return f"{kind}join: {sides} within {format_duration(self.within)}"

    def streams(self) -> tuple[str, ...]:
        """The two."""
        return tuple(self.on)

    @property
    def keeps_state(self) -> bool:
        """What waits for its other."""
        return True

    @property
    def closes(self) -> bool:
        """What leaves alone does so when nothing more can come."""
        return self.kind_ != "inner"

    @property
    def adds_up(self) -> bool:
        """It pairs each of them."""
        return True

    @property
    def goes_by_time(self) -> bool:
        """By how far apart records are."""
        return True

    @property
    def disorder(self) -> int:
        """What leaves alone does so when nothing more can meet it."""
        return IntervalJoin(milliseconds(self.within), milliseconds(self.grace), _ALONE[self.kind_]).delay

    @property
    def late_stream(self) -> str | None:
        """Where `late_to` names one."""
        return late_stream(self.late_to)

    def build(self, context: SetupContext) -> Step:
        """Refused: what waits for its other is state."""
        raise ValueError("`join` keeps state: it runs only in a stage that owns its partitions")

    def build_keyed(self, context: SetupContext) -> Keyed:
        """The step, with what waits on both sides."""
        within, grace = milliseconds(self.within), milliseconds(self.grace)
        alone = _ALONE[self.kind_]
        waiting = IntervalJoin(within, grace, alone)
        keys = {stream: KeyColumn("on", texts) for stream, texts in self.on.items()}
        on = "; ".join(f"{stream}: {key.meaning}" for stream, key in keys.items())
        return Keyed(
            _Join(keys, tuple(self.on), self._names, waiting, alone, grace),
            shape=f"join on {on} within {within} ms",
            late_to=self.late_to,
            partition_by_stream={stream: tuple(texts) for stream, texts in self.on.items()},
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    rows: KeyedRows
    side: int
    keys: Keys
    texts: Sequence[str | RecordError]


@dataclass(frozen=True, slots=True)
class _Join:
    keys: Mapping[str, KeyColumn]
    streams: tuple[str, ...]
    names: tuple[str, str]
    waiting: IntervalJoin
    alone: tuple[bool, bool]
    grace: int

    def prepare(self, rows: KeyedRows) -> _Prepared:
        keys = self.keys[rows.stream].over(rows.records)
        return _Prepared(rows, self.streams.index(rows.stream), keys, texts_of(rows.records))

    def fields(self, prepared: _Prepared) -> Iterable[bytes]:
        keys = dict.fromkeys(key for key in prepared.keys if isinstance(key, bytes))
        return chain.from_iterable(map(self.waiting.fields_of_key, keys))

    def apply(self, prepared: _Prepared, store: Store) -> Sequence[object]:
        rows, side = prepared.rows, prepared.side
        outcomes: list[object] = []
        for key, text, record, time, watermark in zip(
            prepared.keys, prepared.texts, rows.records, rows.times, rows.watermarks, strict=True
        ):
            if isinstance(key, RecordError):
                outcomes.append(key)
            elif isinstance(text, RecordError):
                outcomes.append(text)
            elif time + self.grace < watermark:
                outcomes.append(late(time, watermark, self.grace))
            elif key is None:
                outcomes.append(TimedRecord(self._one(side, record), time) if self.alone[side] else None)
            else:
                came = Waiting(side, time, text)
                met = self.waiting.meet(store, key, came)
                outcomes.append([self._pair(came, other) for other in met] if met else KEPT)
        return outcomes

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        return self.waiting.fields_of(timers)

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        return [
            [
                TimedRecord(self._one(one.side, record_of(one.text)), one.time)
                for one in self.waiting.expire(store, timer)
            ]
            for timer in timers
        ]

    def _pair(self, came: Waiting, other: Waiting) -> TimedRecord:
        first, second = (came, other) if came.side == 0 else (other, came)
        both: Record = {self.names[0]: record_of(first.text), self.names[1]: record_of(second.text)}
        return TimedRecord(both, max(came.time, other.time))

    def _one(self, side: int, record: Record) -> Record:
        one: Record = dict.fromkeys(self.names)
        one[self.names[side]] = record
        return one
