"""When the server does not answer or refuses for now: wait, say so, and try again, but not forever.

Only for what may be repeated: reads, and commits, whose gate makes a repetition harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from papyra_flow.errors import ConnectionLostError, ServerError, ServerUnreachableError, TryAgainError

FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0
GIVE_UP_AFTER = 60.0
TELL_EVERY = 10.0
"""In seconds, as the others: how often to report that a caller still waits, for any of its calls."""

T = TypeVar("T")
_log = logging.getLogger("papyra_flow.server")


class RetryPolicy:
    """How long a caller puts up with a server that is away; `who` is for messages."""

    def __init__(self, who: str, *, give_up_after: float = GIVE_UP_AFTER, also_unreachable: bool = True) -> None:
        self._who = who
        self._also_unreachable = also_unreachable
        self._give_up_after = give_up_after
        self._tell_from = 0.0

    async def keep_trying(
        self, call: Callable[[], Awaitable[T]], *, lost: Callable[[], Awaitable[None] | None] | None = None
    ) -> T:
        """The call's result, after as many tries as it takes.

        `lost` is called when a reply was lost, so that it is not known what was done. Raises the last error
        when the server has been away for too long, and at once for errors that waiting does not cure.
        """
        wait, deadline = FIRST_WAIT, 0.0
        while True:
            try:
                return await call()
            except (ServerUnreachableError, TryAgainError) as exc:
                deadline = deadline or asyncio.get_running_loop().time() + self._give_up_after
                await self._pause(exc, wait, deadline)
                if isinstance(exc, ConnectionLostError) and lost is not None and (noted := lost()) is not None:
                    await noted
                wait = min(wait * 2, LONGEST_WAIT)

    async def _pause(self, exc: ServerError, wait: float, deadline: float) -> None:
        if not self._also_unreachable and not isinstance(exc, ConnectionLostError | TryAgainError):
            raise exc
        now = asyncio.get_running_loop().time()
        if now + wait > deadline:
            raise exc
        if wait > FIRST_WAIT and now >= self._tell_from:
            _log.warning("%s: %s; trying again", self._who, exc)
            self._tell_from = now + TELL_EVERY
        await asyncio.sleep(wait)
