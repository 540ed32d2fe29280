"""What a commit is made of. Each operation says what it is in the script's arguments (`lua/commit.lua`).

An entry is acknowledged; only the consumer whose acknowledgement counts does what follows from it: its operations. A
dead letter is a record that is forwarded to the dead letters. A plain record, which most entries become, has a shorter
form in columns (`Commit.forward`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from papyra_flow.streams.connection.client import Argument

FIRST_TARGET = 4
"""The number of the first target among the script's keys."""


class Forward(NamedTuple):
    """Add a record to a target: its number, and the entry's flat fields."""

    target: int
    fields: Sequence[bytes]

    def arguments(self) -> Sequence[Argument]:
        """As the script has it."""
        return (self.target + FIRST_TARGET, len(self.fields), *self.fields)


class Wait(NamedTuple):
    """Let the entry wait on the server for another attempt."""

    milliseconds: int
    fields: Sequence[bytes]

    def arguments(self) -> Sequence[Argument]:
        """As the script has it."""
        return (b"later", len(self.fields) + 1, self.milliseconds, *self.fields)


class PutState(NamedTuple):
    """Set a field of a hash of state: the hash's number, from 0."""

    store: int
    field: bytes
    value: bytes

    def arguments(self) -> Sequence[Argument]:
        """As the script has it."""
        return (b"put", 3, self.store, self.field, self.value)


class DeleteState(NamedTuple):
    """Forget a field of a hash of state."""

    store: int
    field: bytes

    def arguments(self) -> Sequence[Argument]:
        """As the script has it."""
        return (b"unput", 2, self.store, self.field)


class SetTimer(NamedTuple):
    """Have a timer go off at a time, in milliseconds, or move it there: the number of the set of timers, from 0."""

    timers: int
    at: int
    member: bytes

    def arguments(self) -> Sequence[Argument]:
        """As the script has it."""
        return (b"at", 3, self.timers, self.at, self.member)


class DeleteTimer(NamedTuple):
    """Forget a timer."""

    timers: int
    member: bytes

    def arguments(self) -> Sequence[Argument]:
        """As the script has it."""
        return (b"unat", 2, self.timers, self.member)


Change: TypeAlias = PutState | DeleteState | SetTimer | DeleteTimer
Operation: TypeAlias = Forward | Wait | Change
"""What may follow from one entry."""


@dataclass(slots=True)
class StateChanges:
    """What a batch changes in the state of its partition, in columns."""

    put: list[bytes] = field(default_factory=list)
    """Field, value, field, value, ..."""
    deleted: list[bytes] = field(default_factory=list)
    """Fields that are not there any more."""
    timers: list[int | bytes] = field(default_factory=list)
    """Time in milliseconds, member, time, member, ..."""
    deleted_timers: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.put or self.deleted or self.timers or self.deleted_timers)

    @property
    def operations(self) -> list[Change]:
        """The same one by one."""
        puts: list[Change] = [PutState(0, *pair) for pair in zip(self.put[::2], self.put[1::2], strict=True)]
        timers = [
            SetTimer(0, at, member)
            for at, member in zip(self.timers[::2], self.timers[1::2], strict=True)
            if isinstance(at, int) and isinstance(member, bytes)
        ]
        return [
            *puts,
            *(DeleteState(0, name) for name in self.deleted),
            *timers,
            *(DeleteTimer(0, member) for member in self.deleted_timers),
        ]


class MoveCheckpoint(NamedTuple):
    """Move the checkpoint of a lease, as its owner with this epoch, from where it was `before` to where it is `after`.

    It is an operation of a whole commit, which is then done as a whole or not at all: what it stands for was written
    outside.
    """

    lease: str
    epoch: int
    before: str
    after: str
