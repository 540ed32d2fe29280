"""What a step is to the runtime, and what its declared model has to offer.

A step's model (`StepConfig`) is built into one of two shapes: `Each` is called with every record, `Whole`
with a batch. Where a stage works on tables (the format `arrow`), a step that has a third shape, `OfTable`, is built
into that. None of them knows of streams, groups or commits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from papyra_flow.spec.components import Component, SetupContext
from papyra_flow.spec.tables import KeptTable
from papyra_flow.steps.keyed import Keyed


async def nothing() -> None:
    """What a step without resources does to start and to close."""


@dataclass(frozen=True, slots=True)
class Each:
    """A step that is called with one record and returns what it became.

    That is None (dropped), a record, an `Emit`, or an iterable of those. `unchanged` promises that a record
    that comes out is the one that went in, so that it need not be encoded again. `over` is the same for many
    records at once, for a step without effects: if it raises, each record is tried by itself. `explain` turns an
    exception into one that a user understands.
    """

    apply: Callable[[Any], object]
    over: Callable[[Sequence[Any]], Sequence[object]] | None = None
    unchanged: bool = False
    explain: Callable[[Exception], Exception] | None = None
    needs_headers: bool = False
    """Whether `apply` and `over` take pairs of a record and its entry's headers in place of records."""
    context: SetupContext | None = None
    """For a step that wants to know where records are from: then `apply` takes pairs of a record and its `Context`."""
    start: Callable[[], Awaitable[None]] = nothing
    close: Callable[[], Awaitable[None]] = nothing


@dataclass(frozen=True, slots=True)
class Whole:
    """A step that is called with a batch and returns a list of the same length.

    Each item says what the record at its place became, as for `Each`, or is the exception that it met.
    """

    apply: Callable[[Sequence[Any]], Awaitable[Sequence[object]]]
    context: SetupContext | None = None
    """For a step that wants to know where records are from: then `apply` takes pairs of a record and its `Context`."""
    start: Callable[[], Awaitable[None]] = nothing
    close: Callable[[], Awaitable[None]] = nothing


Step: TypeAlias = Each | Whole


@dataclass(frozen=True, slots=True)
class OfTable:
    """A step that is called with a table and returns what it became, or something to be awaited for that.

    That is None (dropped), a table, an `Emit` of one, or an iterable of those. `drops` promises that rows which do
    not come out were dropped, so that they are counted as that.
    """

    apply: Callable[..., object]
    drops: bool = False
    needs_headers: bool = False
    """Whether `apply` takes the headers of the table's entry as well."""
    context: SetupContext | None = None
    """For a step that wants to know where records are from: then `apply` takes a `Context` as well."""
    start: Callable[[], Awaitable[None]] = nothing
    close: Callable[[], Awaitable[None]] = nothing


@dataclass(frozen=True, slots=True)
class Merge:
    """How the records of a batch become one table before a step: `types` are those of columns, by field."""

    types: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False
    """Whether that is all that the step stands for."""


class StepConfig(Component):
    """Base of every step's model."""

    kind: ClassVar[str] = "step"

    @abstractmethod
    def build(self, context: SetupContext) -> Step:
        """The step, ready to run; raises ValueError or ConnectorError with one sentence if it cannot be."""

    def build_table(self, context: SetupContext) -> OfTable | None:
        """The step for tables; None if it has no form for them: then it gets their rows, as records.

        Raises ValueError with one sentence if it cannot be built.
        """
        return None

    @property
    def keeps_state(self) -> bool:
        """Whether it keeps state by key, so that its stage has owners."""
        return False

    @property
    def closes(self) -> bool:
        """Whether what it keeps open closes when all of the input has arrived; not where its timers only forget."""
        return self.keeps_state

    @property
    def adds_up(self) -> bool:
        """Whether each record counts for it beside all others, so that a new version of a row would be one too many."""
        return False

    @property
    def goes_by_time(self) -> bool:
        """Whether what it gives depends on event times and the watermark."""
        return False

    @property
    def late_stream(self) -> str | None:
        """The stream that late records go to; None where they are dead or dropped, or none is late."""
        return None

    @property
    def disorder(self) -> int:
        """How far what it gives may lie behind what it gave before, in event time and milliseconds."""
        return 0

    @property
    def own_time(self) -> str | None:
        """Its own expression for the event time of the records that come to it."""
        return None

    def build_keyed(self, context: SetupContext) -> Keyed | None:
        """The step with its state, where it keeps some by key; None for all others."""
        return None

    def merge(self) -> Merge | None:
        """How the records of a batch become one table before the step, where it works on nothing else; else None."""
        return None

    def accepts(self, context: SetupContext) -> type | None:
        """The model that records must fit, where the step declares one."""
        return None

    def returns(self, context: SetupContext) -> type | None:
        """The model that the step's records fit, where it declares one."""
        return None

    def streams(self) -> tuple[str, ...]:
        """The streams that its stage has to read, no more and no less, where it names them; none for all others."""
        return ()

    def kept_table(self) -> KeptTable | None:
        """The table that it keeps, where it keeps one that a lookup can ask."""
        return None

    @property
    def keeps_shape(self) -> bool:
        """Whether records leave with the fields that they came with, so that a declared model holds across."""
        return False
