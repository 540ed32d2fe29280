"""Care after an owner died, maybe of what comes next: less at once, down to one at a time, and then each try is noted.

So a record, or a timer, that ends its worker takes down only itself (invariant I5): the owners after it halve what they
take until they have it alone, and after as many tries as there may be it is dead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from papyra_flow.streams.commit.ownership import Ownership
from papyra_flow.streams.connection.retry_policy import RetryPolicy

CAREFUL_BATCHES = 2
"""Batches that are committed with care, before as much as usual is taken at once again."""

Trying = Callable[[Ownership, str, bytes], Awaitable[int]]
"""Notes in the lease what is tried, and returns how often that was."""


class Care:
    """One owner's."""

    def __init__(self, ownership: Ownership, batch_size: int, trying: Trying, retry_policy: RetryPolicy) -> None:
        self._ownership = ownership
        self._trying = trying
        self._retry_policy = retry_policy
        self._left = CAREFUL_BATCHES * batch_size if ownership.limit else 0

    @property
    def needed(self) -> bool:
        """Whether what is given out is to be committed before anything else is begun."""
        return self._left > 0

    @property
    def limit(self) -> int | None:
        """How much may be taken at once; None for as much as usual."""
        return self._ownership.limit if self._left > 0 else None

    async def tries(self, source: str, what: bytes) -> int:
        """How often this was given out by itself, with this time; only counted while one at a time is taken.

        Raises FencedError if the partition has another owner.
        """
        if self.limit != 1:
            return 1
        return await self._retry_policy.keep_trying(lambda: self._trying(self._ownership, source, what))

    def passed(self, count: int) -> None:
        """So much was committed."""
        if self._left > 0:
            self._left -= count
            self._ownership.recovered = self._left <= 0
