"""What a pipeline file may say of a stream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from papyra_flow.expressions.fields import Expression, WrittenExpression
from papyra_flow.spec import defaults
from papyra_flow.spec.base import Model
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.spec.units import parse_duration, written_duration

MAX_PARTITIONS = 256
"""A commit names every partition that its stage may write to."""


def _retain(value: object) -> object:
    if isinstance(value, int | float):
        return value
    return value if value in {"acked", "all"} else parse_duration(value)


class StreamConfig(Model):
    """A stream's settings, where the defaults do not fit; naming a stream here declares it."""

    key: str | None = Field(None, min_length=1, description="An existing Redis key, used as it is and never trimmed.")
    retain: Annotated[
        Literal["acked", "all"] | float | None,
        BeforeValidator(_retain),
        PlainSerializer(lambda value: written_duration(value) if isinstance(value, float) else value, when_used="json"),
        WithJsonSchema({"type": "string", "examples": ["acked", "all", "1d"]}),
    ] = Field(
        None,
        description="`acked` trims what every group has acked, a duration keeps it for that long, `all` trims nothing.",
    )
    max_backlog: int | None = Field(
        None,
        ge=1,
        description="Backlog of its slowest stage, including postponed records, at which writers pause "
        f"({defaults.RECORDS_IN_BACKLOG:,} records, {defaults.TABLES_IN_BACKLOG} tables).",
    )
    time: WrittenExpression | None = Field(
        None, description="When a record happened: a field or an expression, for stages that go by event time."
    )
    format: Literal["json", "fields", "arrow"] = Field(
        "json",
        description="`json`: the field `data` holds a JSON object; `fields`: the entry's fields are the record; "
        "`arrow`: `data` holds a table of records (Arrow IPC, with `papyra-flow[arrow]`).",
    )
    partitions: int | None = Field(
        None,
        ge=1,
        le=MAX_PARTITIONS,
        description="Partitions of the stream, each a key of its own: `{PIPELINE/3}:STREAM` (1, with `by` 16).",
    )
    by: Annotated[list[Expression], OneOrMany()] = Field(
        [],
        description="A field or expression, or several: records that have it in common are in one partition, in their "
        "order.",
    )

    @property
    def total(self) -> int:
        """How many partitions there are."""
        return (self.partitions or defaults.PARTITIONS) if self.by and self.key is None else 1
