"""A partition's state without a server: a dict in place of the hash, another in place of the timers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from papyra_flow.state.store import Timer
from papyra_flow.streams.commit.operations import Change, DeleteState, DeleteTimer, PutState, SetTimer


class MemoryState:
    """As `ServerState`; commits go here, too."""

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self._timers: dict[bytes, int] = {}

    async def values(self, fields: Sequence[bytes]) -> Sequence[bytes | None]:
        """As `StateKeeper.values`."""
        return [self.fields.get(field) for field in fields]

    async def timers(self, until: int | None, most: int) -> list[Timer]:
        """As `StateKeeper.timers`."""
        due = (Timer(at, member) for member, at in self._timers.items() if until is None or at <= until)
        return heapq.nsmallest(most, due)

    def commit(self, changes: Iterable[Change]) -> None:
        """Do what a commit changes, in its order."""
        for change in changes:
            match change:
                case PutState(_, field, value):
                    self.fields[field] = value
                case DeleteState(_, field):
                    self.fields.pop(field, None)
                case SetTimer(_, at, member):
                    self._timers[member] = at
                case DeleteTimer(_, member):
                    self._timers.pop(member, None)
