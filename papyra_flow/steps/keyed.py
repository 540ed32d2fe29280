"""What a keyed step is to the runtime: one that remembers something by key, in its stage's state.

The stage's owner has it run over a batch in three moves: `prepare` evaluates what has to be evaluated, `fields` says
which state that touches, so that it can be loaded in one command, and `apply` goes through the rows in order. When the
watermark gets to a timer, `fire` is asked what becomes of it. None of them waits for anything; a step that calls
asynchronous code is an `AwaitedStep`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from papyra_flow.records.entries import Record
from papyra_flow.spec.components import SetupContext
from papyra_flow.state.store import Store, Timer
from papyra_flow.steps.context import Context

P = TypeVar("P")
"""What a step makes of a batch before it looks at its state."""


@dataclass(frozen=True, slots=True)
class KeyedRows:
    """A batch's rows as a keyed step gets them, in the order of their stream."""

    records: Sequence[Record]
    times: Sequence[int]
    """Event times, in milliseconds since 1970."""
    watermarks: Sequence[int]
    """The partition's watermark as of each row, in milliseconds since 1970; it never goes back."""
    stream: str = ""
    """The name of the stream that they came in, as the file has it; of a replayed record the one it came in first."""
    contexts: Sequence[Context] = ()
    """A context for each row, where the step asks for them (`Keyed.context`)."""


KEPT: tuple[()] = ()
"""The outcome of a record that went into the state, and that nothing has come of yet: it was not dropped."""


class Late(NamedTuple):
    """The outcome of a record whose window had closed: its stage's `late_to` says where it goes."""

    reason: str


class TimedRecord(NamedTuple):
    """An outcome with an event time of its own, such as a window's result."""

    record: Record
    time: int


class KeyedStep(Protocol[P]):
    """A keyed step, ready to run.

    An outcome is as that of `Each`: None (dropped), `KEPT`, a record, a `TimedRecord`, an `Emit`, an iterable of those,
    the exception that the row met, or `Late`. A row whose outcome is an exception has not changed any state.
    """

    def prepare(self, rows: KeyedRows) -> P:
        """Evaluate keys and arguments; what a row met is kept for `apply` to return."""

    def fields(self, prepared: P) -> Iterable[bytes]:
        """The fields of state that `apply` will look at."""

    def apply(self, prepared: P, store: Store) -> Sequence[object]:
        """Go through the rows in order, and change the state; one outcome a row."""

    def fields_of(self, timers: Sequence[Timer]) -> Iterable[bytes]:
        """The fields of state that `fire` will look at."""

    def fire(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """What becomes of timers that the watermark has got to, in their order.

        Their owner deletes them before it asks, so that a timer may be set again under the same name.
        """


class AwaitedStep(KeyedStep[P], Protocol[P]):
    """A keyed step that has to be awaited: its owner calls these two in place of `apply` and `fire`.

    Nothing else may look at the store until they are done.
    """

    async def apply_async(self, prepared: P, store: Store) -> Sequence[object]:
        """`apply`: rows with the same key one after another, others concurrently."""

    async def fire_async(self, timers: Sequence[Timer], watermark: int, store: Store) -> Sequence[object]:
        """`fire`, in the same way."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A keyed step as its model builds it, with what its stage has to know of it."""

    step: KeyedStep[Any]
    shape: str
    """What the meaning of its state depends on: where it changes, state that is there does not fit any more."""
    upsert_by: tuple[str, ...] | None = None
    """The fields by which what it gives are new versions of a row; None where each record stands for itself."""
    late_to: str = "dead"
    """What becomes of late records: `dead`, `drop`, or the name of a stream."""
    windows: str | None = None
    """What windows it has, in words such as `1m windows`; None for a step without."""
    grows: str | None = None
    """What of it grows for ever, for `plan` to warn of."""
    partition_by: tuple[str, ...] = ()
    """Expressions of its key: partitions of its input have to be by these."""
    partition_by_stream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same by the name of the stream, where the key of each has expressions of its own."""
    unchanged: bool = False
    """Whether a record that comes out is the one that went in, so that it need not be encoded again."""
    awaits: bool = False
    """Whether it is an `AwaitedStep`."""
    context: SetupContext | None = None
    """For a step that wants to know where records are from: then `KeyedRows.contexts` has to be there."""
    start: Callable[[], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None
