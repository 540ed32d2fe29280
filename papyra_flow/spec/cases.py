"""What a pipeline file may say under `tests:`: records in, time that passes, records expected out."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from papyra_flow.error_text import shown
from papyra_flow.spec.names import Name
from papyra_flow.spec.units import Duration, parse_duration

Fields = dict[str, object]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Advance(_Model):
    """Time goes on, and nothing comes: inputs are idle then, and event time goes on without them."""

    advance: Duration = Field(description="How long.")


def _told_apart(item: object) -> object:
    """What has `advance` and nothing else is no record; raises ValueError for what is neither."""
    if not isinstance(item, dict | Advance):
        raise ValueError(f"expected a record, or `advance: 1m`, not {shown(item)}")
    if isinstance(item, dict) and item.keys() == {"advance"}:
        parse_duration(item["advance"])
        return Advance(advance=item["advance"])
    return item


InputItem: TypeAlias = Annotated[Advance | Fields, Field(union_mode="left_to_right"), BeforeValidator(_told_apart)]


class DeadCase(_Model):
    """A dead letter that is expected."""

    record: Fields | None = Field(None, description="The record as it came to the stage.")
    error: str | None = Field(None, description="Text that the error contains.")


class Case(_Model):
    """A test of the pipeline: it runs without a server, through the real steps and routes."""

    description: str | None = Field(None, description="What it shows.")
    input: dict[Name, list[InputItem]] = Field(
        min_length=1,
        description="Records that go in, by stream or by stage (as if its source had read them); between them "
        "`advance: 1m` lets time pass.",
    )
    open: bool = Field(
        False, description="Whether the input goes on behind this, so that what is open then stays open."
    )
    expect: dict[Name, list[Fields]] = Field(
        {}, description="Expected records, in order, by stream, or by stage for what its sink writes."
    )
    partial: bool = Field(False, description="Compare only the fields that `expect` names.")
    dead: dict[Name, list[DeadCase]] = Field(
        {}, description="Expected dead letters, by stage; any other fails the test."
    )
