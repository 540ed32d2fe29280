"""`table`: keep the newest record of each key, for lookups, and pass every record on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from papyra_flow.errors import RecordError
from papyra_flow.expressions.fields import Condition, Expression
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.spec.names import Name
from papyra_flow.spec.tables import KeptTable
from papyra_flow.spec.units import Duration
from papyra_flow.state.key_column import KeyColumn, ValueColumn
from papyra_flow.state.record_texts import texts_of
from papyra_flow.state.store import Store, Timer
from papyra_flow.state.versions import Keeping, Table
from papyra_flow.steps.base import Step, StepConfig
from papyra_flow.steps.keyed import Keyed, KeyedRows
from papyra_flow.steps.lateness import late, late_stream, milliseconds

GRACE = 3600.0


class KeepTable(StepConfig):
    """Keep the newest record of each key as a table that `lookup` can ask, and pass every record on.

    The newest is the one with the latest event time, and of several the one that came last; older ones that come behind
    it pass, and change nothing. A record whose key is null fails.
    """

    name: ClassVar[str] = "table"
    main: ClassVar[str] = "key"

    key: Annotated[list[Expression], OneOrMany()] = Field(
        min_length=1, description="The key of a row: a field or an expression, or a list of them."
    )
    ttl: Duration | None = Field(None, description="How long a record holds, in event time; else until a newer one.")
    delete: Condition | None = Field(None, description="Where this is true, the record deletes its key's row.")
    history: Duration | None = Field(None, description="How far back `as_of` of a lookup may ask.")
    grace: Duration | None = Field(
        None,
        description="How long a deletion is remembered behind the watermark (1h): older records that come meanwhile "
        "change nothing, and then those of a key that is not there are late.",
    )
    late_to: Name = Field("dead", description="Where late records go: `dead`, `drop`, or a stream.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        KeyColumn("key", self.key)
        if self.delete is not None:
            ValueColumn("delete", self.delete)
        if self.delete is None and self.grace is not None:
            raise ValueError("`grace` needs `delete`: without it no record is late")
        if 0 in {self.ttl, self.history}:
            raise ValueError("`ttl` and `history` must be longer than 0")
        return self

    def kept_table(self) -> KeptTable:
        """What a lookup has to know of it."""
        return KeptTable(len(self.key), _milliseconds(self.ttl), _milliseconds(self.history))

    @property
    def keeps_state(self) -> bool:
        """It keeps the newest records."""
        return True

    @property
    def goes_by_time(self) -> bool:
        """The newest record is so by its event time."""
        return True

    @property
    def closes(self) -> bool:
        """Its timers only forget."""
        return False

    @property
    def late_stream(self) -> str | None:
        """Where `late_to` names one."""
        return late_stream(self.late_to)

    def build(self, context: SetupContext) -> Step:
        """Refused: the table is state."""
        raise ValueError("`table` keeps state: it runs only in a stage that owns its partitions")

    def build_keyed(self, context: SetupContext) -> Keyed:
        """The step with its table."""
        grace = milliseconds(GRACE if self.grace is None else self.grace) if self.delete is not None else None
        deletes = ValueColumn("delete", self.delete) if self.delete is not None else None
        keys = KeyColumn("key", self.key)
        keeping = Keeping(_milliseconds(self.ttl), _milliseconds(self.history), grace)
        kept = [f"{word} {duration} ms" for word, duration in (("ttl", keeping.ttl), ("history", keeping.history))
                if duration is not None]  # fmt: skip
        return Keyed(
            _Table(keys, deletes, grace or 0, Table(keeping)),
            shape=" ".join(["table by", keys.meaning, *kept]),
            upsert_by=tuple(self.key),
            late_to=self.late_to,
            grows=None if self.ttl is not None else "`table` without `ttl` keeps every key until it is deleted",
            partition_by=tuple(self.key),
            unchanged=True,
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    rows: KeyedRows
    keys: Sequence[bytes | RecordError]
    deleted: Sequence[Any]
    texts: Sequence[str | RecordError]


@dataclass(frozen=True, slots=True)
class _Table:
    keys: KeyColumn
    delete: ValueColumn | None
    grace: int
    table: Table

    def prepare(self, rows: KeyedRows) -> _Prepared:
        records = rows.records
        deleted = [False] * len(records) if self.delete is None else self.delete.over(records)
        return _Prepared(rows, self.keys.required(records), deleted, texts_of(records))

    def fields(self, prepared: _Prepared) -> Iterable[bytes]:
        return [key for key in prepared.keys if isinstance(key, bytes)]

    def apply(self, prepared: _Prepared, store: Store) -> Sequence[object]:
        rows, outcomes, put = prepared.rows, list[object](), self.table.put
        for key, deleted, text, record, time, watermark in zip(
            prepared.keys, prepared.deleted, prepared.texts, rows.records, rows.times, rows.watermarks, strict=True
        ):
            if isinstance(key, RecordError):
                outcomes.append(key)
            elif isinstance(deleted, RecordError):
                outcomes.append(deleted)
            elif isinstance(text, RecordError):
                outcomes.append(text)
            elif put(store, key, time, None if deleted else text, watermark):
                outcomes.append(record)
            else:
                outcomes.append(late(time, watermark, self.grace))
        return outcomes

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        return [timer.member for timer in timers]

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        for timer in timers:
            self.table.expire(store, timer.member, watermark)
        return [None] * len(timers)


def _milliseconds(duration: float | None) -> int | None:
    return None if duration is None else milliseconds(duration)
