"""What a pipeline file may say: one model a concept, each with its fields' meaning and limits.

The models hold what the file says; `Settings` is what applies to a stage once `defaults` are filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from papyra_flow.expressions.fields import WrittenExpression
from papyra_flow.spec import defaults
from papyra_flow.spec.base import Model
from papyra_flow.spec.cases import Case
from papyra_flow.spec.choice import OneOf
from papyra_flow.spec.components import SINKS, SOURCES, STEPS, Component
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.spec.names import GroupName, Name
from papyra_flow.spec.streams import StreamConfig
from papyra_flow.spec.units import (
    Backoff,
    BackoffRange,
    Duration,
    Size,
    format_duration,
    format_size,
    is_entry_id,
)


def _optional_mapping(value: object) -> object:
    return {} if value is None else value


def _start(value: object) -> object:
    text = str(value)
    if text not in {"earliest", "latest", "$"} and not is_entry_id(text):
        raise ValueError(f"expected earliest, latest or an entry id such as 1700000000000-0, not {value!r}")
    return {"earliest": "0", "latest": "$"}.get(text, text)


class BatchConfig(Model):
    """How many records a consumer takes at once."""

    size: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description=f"Maximum records ({defaults.RECORDS_IN_BATCH}) or tables ({defaults.TABLES_IN_BATCH}) in a batch.",
    )
    wait: Duration | None = Field(
        None, description=f"How long to wait for a batch to fill ({format_duration(defaults.BATCH_WAIT)})."
    )


class RetryConfig(Model):
    """What happens when a step raises an exception."""

    attempts: int | None = Field(
        None, ge=1, le=1000, description=f"Total attempts, including the first ({defaults.ATTEMPTS})."
    )
    backoff: BackoffRange | None = Field(
        None, description=f"First and longest wait between attempts ({defaults.BACKOFF})."
    )
    on: list[str] | None = Field(None, description="Retry only these exceptions, by class name.")
    never: list[str] | None = Field(None, description="Never retry these exceptions, by class name.")


class Tuning(Model):
    """What a stage and `defaults` have in common; a stage's own word wins, field by field."""

    consumers: int | None = Field(
        None, ge=1, le=1024, description=f"Consumers of the stage's group ({defaults.CONSUMERS})."
    )
    batch: BatchConfig | None = Field(None, description="Batch size and wait.")
    retry: RetryConfig | None = Field(None, description="Attempts and backoff when a step fails.")
    on_error: Literal["dead", "drop", "halt"] | None = Field(
        None,
        description=f"What to do when attempts are exhausted: dead-letter, drop, or stop ({defaults.ON_ERROR}).",
    )
    claim_after: Duration | None = Field(
        None,
        description="Idle time after which a consumer's pending entries are taken over "
        f"({format_duration(defaults.CLAIM_AFTER)}).",
    )
    max_pending: int | None = Field(
        None,
        ge=1,
        description="Maximum entries a consumer holds, including those waiting for a retry "
        f"({defaults.BATCHES_PENDING} batches).",
    )
    max_record: Size | None = Field(
        None,
        description="Maximum record size, in and out; larger records are dead-lettered "
        f"({format_size(defaults.MAX_RECORD)}).",
    )
    idle_after: Duration | None = Field(
        None,
        description="How long an input has to be empty before event time goes on without it "
        f"({format_duration(defaults.IDLE_AFTER)}).",
    )
    state_cache: Size | None = Field(
        None,
        description="Memory for the state of a keyed stage's partition in a worker "
        f"({format_size(defaults.STATE_CACHE)}).",
    )


class Route(Model):
    """One way out of a stage: a stream, and the condition under which a record goes there."""

    stream: Name = Field(description="The stream to forward to.")
    when: WrittenExpression | None = Field(
        None, description="An expression over the record's fields; without one, every record."
    )


class StageConfig(Tuning):
    """A stage: reads from somewhere, processes, writes to somewhere."""

    description: str | None = Field(None, description="What the stage is for, shown in diagrams.")
    from_: Annotated[list[Name], OneOrMany()] = Field(
        [], alias="from", description="The stream, or streams, that the stage's group reads."
    )
    read: Annotated[Component, OneOf(SOURCES)] | None = Field(
        None, description="An external source, instead of `from`."
    )
    process: list[Annotated[Component, OneOf(STEPS)]] = Field([], description="Steps, in order.")
    to: Annotated[list[Route], OneOrMany(short="stream")] = Field(
        [], description="The stream, or routes, that records are forwarded to."
    )
    match: Literal["first", "all"] = Field("first", description="Forward to the first route that matches, or to all.")
    write: Annotated[Component, OneOf(SINKS)] | None = Field(None, description="An external sink, instead of `to`.")
    group: GroupName | None = Field(
        None, description="The consumer group's name (the stage's; `PIPELINE.STAGE` if it reads a stream with a `key`)."
    )
    ordered: bool | None = Field(
        None,
        description="Process each partition in order, by one owner at a time; a retry holds what is behind it (true "
        "for keyed stages and those that read a partitioned stream).",
    )
    start: Annotated[str, BeforeValidator(_start)] = Field(
        "0", description="Where a new group starts: earliest, latest or an entry id."
    )

    @model_validator(mode="after")
    def _one_way_in_and_out(self) -> Self:
        if bool(self.from_) == (self.read is not None):
            raise PydanticCustomError("stage_input", "a stage needs either `from` or `read`")
        if self.to and self.write is not None:
            raise PydanticCustomError("stage_output", "a stage has either `to` or `write`, not both")
        if not self.to and self.write is None:
            raise PydanticCustomError("stage_output", "a stage needs either `to` or `write`")
        return self


class PipelineConfig(Model):
    """A pipeline file."""

    pipeline: Name = Field(description="The pipeline's name: the hash tag of all its keys.")
    description: str | None = Field(None, description="What the pipeline is for.")
    redis: str = Field(
        "embedded",
        min_length=1,
        description="redis://, rediss://, unix://, redis+sentinel://, redis+cluster://, or `embedded` to start one.",
    )
    defaults: Tuning = Field(default_factory=lambda: Tuning.model_validate({}), description="Defaults for every stage.")
    stages: dict[Name, StageConfig] = Field(min_length=1, description="The stages, by name.")
    streams: dict[Name, Annotated[StreamConfig, BeforeValidator(_optional_mapping)]] = Field(
        {}, description="Stream settings, by name."
    )

    tests: dict[str, Case] = Field(
        {}, description="Tests of the pipeline, by name: `papyra-flow test` runs them without a server."
    )

    def settings(self, stage: str) -> Settings:
        """What applies to a stage, with `defaults` and the built-in defaults filled in."""
        found = self.stages[stage]
        tables = any(self.stream(name).format == "arrow" for name in found.from_)
        batch_size = defaults.TABLES_IN_BATCH if tables else defaults.RECORDS_IN_BATCH
        return Settings.of(found, self.defaults, batch_size=batch_size)

    def stream(self, name: str) -> StreamConfig:
        """A stream's settings, declared or not."""
        return self.streams.get(name) or StreamConfig.model_validate({})


@dataclass(frozen=True, slots=True)
class Settings:
    """A stage's tuning with nothing left open; durations in seconds."""

    consumers: int = defaults.CONSUMERS
    batch_size: int = defaults.RECORDS_IN_BATCH
    batch_wait: float = defaults.BATCH_WAIT
    attempts: int = defaults.ATTEMPTS
    backoff: Backoff = defaults.BACKOFF
    retry_on: tuple[str, ...] | None = None
    retry_never: tuple[str, ...] = ()
    on_error: Literal["dead", "drop", "halt"] = defaults.ON_ERROR
    claim_after: float = defaults.CLAIM_AFTER
    max_pending: int = defaults.BATCHES_PENDING * defaults.RECORDS_IN_BATCH
    max_record: int = defaults.MAX_RECORD
    idle_after: float = defaults.IDLE_AFTER
    state_cache: int = defaults.STATE_CACHE

    @classmethod
    def of(cls, stage: Tuning, for_all: Tuning, *, batch_size: int) -> Settings:
        """The stage's setting, else the file's default, else the built-in one, field by field."""
        found: dict[str, object] = {"batch_size": batch_size}
        for source in (for_all, stage):
            batch, retry = source.batch, source.retry
            said: Mapping[str, object] = {
                "consumers": source.consumers,
                "on_error": source.on_error,
                "claim_after": source.claim_after,
                "max_pending": source.max_pending,
                "max_record": source.max_record,
                "idle_after": source.idle_after,
                "state_cache": source.state_cache,
                "batch_size": batch.size if batch else None,
                "batch_wait": batch.wait if batch else None,
                "attempts": retry.attempts if retry else None,
                "backoff": retry.backoff if retry else None,
                "retry_on": tuple(retry.on) if retry and retry.on is not None else None,
                "retry_never": tuple(retry.never) if retry and retry.never is not None else None,
            }
            found |= {name: value for name, value in said.items() if value is not None}
        size = found["batch_size"]
        found.setdefault("max_pending", defaults.BATCHES_PENDING * size if isinstance(size, int) else None)
        return cls(**found)  # type: ignore[arg-type]

    def describe(self) -> str:
        """The settings that differ from the built-in ones, for `plan` and diagrams."""
        words = []
        if self.consumers > 1:
            words.append(f"{self.consumers} consumers")
        words.append(f"batches of {self.batch_size}")
        if self.batch_wait:
            words.append(f"wait {format_duration(self.batch_wait)}")
        words.append(f"{self.attempts} attempts, {self.backoff}, then {self.on_error}")
        return ", ".join(words)
