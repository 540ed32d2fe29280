"""A partition's state as its owner has it: what holds now, what a batch changes, and what the server has to be asked.

State is a hash on the server, a field a key (and window), each value JSON; timers are a sorted set. A batch works on
values in memory: what it needs and is not there is loaded before, in one command. What it changes becomes operations of
its commit, one for each field however often it changed (S2), or is taken back as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from papyra_flow.records.json_codec import read_json, write_values
from papyra_flow.streams.commit.operations import StateChanges

State: TypeAlias = Any
"""What a field holds: anything that JSON can hold, except null, which is what a field holds that is not there."""

V = TypeVar("V")

DEFAULT_BUDGET = 64 * 1024**2
OVERHEAD = 200
"""Bytes that a field costs in memory beside its text and its value."""


class Timer(NamedTuple):
    """A timer: when it goes off, by the watermark, in milliseconds since 1970, and what it is for."""

    at: int
    member: bytes


class Store:
    """The state of one keyed stage in one partition.

    A value that `get` returns must not be changed; `own` returns one that may be, until the batch ends.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        """Values that no commit is waiting for are forgotten when all of them take more than `budget` bytes."""
        self._budget = budget
        self._values: dict[bytes, State] = {}
        self._sizes: dict[bytes, int] = {}
        self._size = 0
        self._before: dict[bytes, State] = {}
        """What fields held when the batch began, of those that it changed."""
        self._timers: dict[bytes, int | None] = {}
        """Timers that the batch set, or deleted (None)."""
        self._unsettled: list[StateChanges] = []
        """What commits under way change: until then the server has other values."""

    # -- what a step asks of it -------------------------------------------------------------------------------

    def get(self, field: bytes) -> State | None:
        """What a field holds; None if it is not there. Raises KeyError for one that was not loaded."""
        return self._values[field]

    def own(self, field: bytes, copy: Callable[[V], V]) -> V | None:
        """What a field holds, as a copy that may be changed in place until the batch ends; it counts as changed."""
        value: V | None = self._values[field]
        if field not in self._before:
            self._before[field] = value
            if value is not None:
                self._values[field] = value = copy(value)
        return value

    def put(self, field: bytes, value: State) -> None:
        """Let a field hold a value, which may be changed in place until the batch ends."""
        if field not in self._before:
            self._before[field] = self._values[field]
        self._values[field] = value

    def delete(self, field: bytes) -> None:
        """Let a field hold nothing."""
        self.put(field, None)

    def set_timer(self, at: int, member: bytes) -> None:
        """Have a timer go off when the watermark gets to `at`; one of that name is moved there."""
        self._timers[member] = at

    def delete_timer(self, member: bytes) -> None:
        """Forget a timer; it may be one that is not there."""
        self._timers[member] = None

    # -- what the partition's owner asks of it ----------------------------------------------------------------

    def missing(self, fields: Iterable[bytes]) -> list[bytes]:
        """Those of these fields that have to be loaded, each once."""
        return [field for field in dict.fromkeys(fields) if field not in self._values]

    def load(self, fields: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Take what the server has for fields; raises UndecodableError for what is no JSON."""
        for field, value in zip(fields, values, strict=True):
            self._values[field] = None if value is None else read_json(value)
        self._resize(fields, [value or b"" for value in values])

    @property
    def first_timer(self) -> int | None:
        """When the first of the timers goes off that were set since the last `changes`."""
        return min((at for at in self._timers.values() if at is not None), default=None)

    def changes(self) -> StateChanges:
        """End the batch: what it changed, for its commit. Raises RecordError for a value that JSON cannot hold."""
        values, found = self._values, StateChanges()
        kept = [name for name in self._before if values[name] is not None]
        texts = write_values([values[name] for name in kept])
        found.put = [b""] * (2 * len(kept))
        found.put[0::2], found.put[1::2] = kept, texts
        self._resize(kept, texts)
        if len(kept) < len(self._before):
            found.deleted = [name for name in self._before if values[name] is None]
            self._resize(found.deleted, [b""] * len(found.deleted))
        for member, at in self._timers.items():
            if at is None:
                found.deleted_timers.append(member)
            else:
                found.timers += (at, member)
        self._before, self._timers = {}, {}
        self._unsettled.append(found)
        if self._size > self._budget:
            self._shrink()
        return found

    def settled(self, changes: StateChanges) -> None:
        """The commit of these changes is done."""
        self._unsettled = [one for one in self._unsettled if one is not changes]

    def rollback(self) -> None:
        """Take back what the batch has changed so far."""
        self._values.update(self._before)
        self._before, self._timers = {}, {}

    def forget(self) -> None:
        """Forget everything: the partition is another owner's, or the server lost something."""
        for kept in (self._values, self._sizes, self._before, self._timers, self._unsettled):
            kept.clear()
        self._size = 0

    def _resize(self, fields: Sequence[bytes], texts: Sequence[bytes]) -> None:
        """Fields hold values of this length; what was used last is forgotten last."""
        sizes, total = self._sizes, self._size
        for name, text in zip(fields, texts, strict=True):
            size = len(text) + len(name) + OVERHEAD
            total += size - sizes.pop(name, 0)
            sizes[name] = size
        self._size = total

    def _shrink(self) -> None:
        waiting = {name for changes in self._unsettled for name in (*changes.put[::2], *changes.deleted)}
        for name in list(self._sizes):
            if self._size <= self._budget:
                return
            if name not in waiting:
                del self._values[name]
                self._size -= self._sizes.pop(name)
