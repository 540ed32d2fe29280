"""What a pipeline file may say under `tests:`: records in, records expected out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from papyra_flow.spec.names import Name

Fields = dict[str, object]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeadCase(_Model):
    """A dead letter that is expected."""

    record: Fields | None = Field(None, description="The record as it came to the stage.")
    error: str | None = Field(None, description="Text that the error contains.")


class Case(_Model):
    """A test of the pipeline: it runs without a server, through the real steps and routes."""

    description: str | None = Field(None, description="What it shows.")
    input: dict[Name, list[Fields]] = Field(
        min_length=1, description="Records that go in, by stream or by stage (as if its source had read them)."
    )
    expect: dict[Name, list[Fields]] = Field(
        {}, description="Expected records, in order, by stream, or by stage for what its sink writes."
    )
    partial: bool = Field(False, description="Compare only the fields that `expect` names.")
    dead: dict[Name, list[DeadCase]] = Field(
        {}, description="Expected dead letters, by stage; any other fails the test."
    )
