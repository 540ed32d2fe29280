"""Where a consumer's batches come from: new entries, retries, what others left, and (with state) timers.

Each is a feed. The loop asks them in their order of precedence, which stands in `shared.SharedReader.feeds`.
"""

from __future__ import annotations

from typing import Protocol

from papyra_flow.records.batch import Batch


class Feed(Protocol):
    """A place that batches come from; times are seconds on the event loop's clock."""

    def due_at(self, now: float) -> float:
        """When `take` has something to do, `now` for at once; infinity where the consumer will be woken for it."""

    async def take(self) -> list[Batch]:
        """The next batches, ready to be processed; none where there was only something to begin, or to look for.

        Raises what ends the run, or the consumer's hold on its entries: errors that waiting does not cure.
        """

    def forget(self) -> None:
        """What it has is not the consumer's any more."""

    async def close(self) -> None:
        """Close what it has opened."""
