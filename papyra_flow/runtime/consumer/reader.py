"""How a consumer gets at the entries of its stage: what the loop asks of it, whichever kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.consumer.feed import Feed


class Reader(Protocol):
    """A consumer's way to its entries. There are two kinds.

    Shared (`SharedReader`): any consumer of the group gets any entry, and each is pending until it is acknowledged.
    What a consumer leaves behind is claimed by another.

    Owned (comes with state): one consumer owns a partition by a lease, and reads behind the group's position, which
    its commit moves. Nothing is pending, so there is nothing to claim and nothing to give back: its feeds are timers,
    what waits in the state, and new entries; `open` takes the lease and starts at the position, `forget` is what a
    lost lease means, and `leave` lets go of it. How often the position was taken over without having moved isolates
    poison records, as the delivery count does for shared stages.
    """

    @property
    def feeds(self) -> Sequence[Feed]:
        """Where batches come from, in their order of precedence."""

    @property
    def reading(self) -> bool:
        """Whether a read is under way, or has brought something."""

    @property
    def idle(self) -> bool:
        """Whether nothing that it gave out is to come back for another attempt."""

    @property
    def careful(self) -> bool:
        """Whether what it gave out last is to be committed before anything else is begun."""

    async def start(self) -> None:
        """Get ready to read, once."""

    async def open(self, *, alone: bool) -> None:
        """Take up what was left: by this very consumer, by those that are gone; by all others if `alone`."""

    def read_behind(self) -> bool:
        """Begin a read as soon as what goes out now has gone out, unless there is one; whether it does so."""

    def committed(self, batch: Batch, again: Sequence[tuple[Entry, float]]) -> None:
        """A batch is done, except for entries that are to be tried again after a wait each."""

    def settled(self) -> None:
        """All that was given out with care is committed, or given up."""

    def forget(self) -> None:
        """What was in flight is not this consumer's any more."""

    async def stop(self) -> None:
        """End the read that is under way; nothing is delivered after that."""

    async def leave(self) -> None:
        """Give back what was not processed."""
