"""What a stage does about a connector's error: wait and try again, or end the run; one place for sources and sinks.

A transient error is waited for as long as it takes, one of the configuration ends the run at once, and one of no known
kind is tried again as often as a record is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from papyra_flow.error_text import MAX_DETAIL, message_of
from papyra_flow.errors import ConfigurationError, ConnectorError, RecordsError, TransientError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.spec.models import Settings

TELL_EVERY = 10.0
"""Seconds between two messages that the other side is still waited for."""
_log = logging.getLogger("papyra_flow.connectors")


class Resting(Protocol):
    """What a process has to wait with."""

    stopping: asyncio.Event

    async def rest(self, seconds: float) -> None:
        """Wait, or until the process is to stop."""


class ConnectorRetries:
    """The retries of one connector: `wait` before each, and say when it is `fine` again.

    `beat` says meanwhile that the owner is alive; the counters tell `status` what is waited for.
    """

    def __init__(
        self,
        stage: str,
        settings: Settings,
        context: Resting,
        counters: StageCounters,
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        self._stage = stage
        self._settings = settings
        self._context = context
        self._counters = counters
        self._beat = beat
        self._failures = 0
        self._tell_from = 0.0

    def fine(self) -> None:
        """The other side answers."""
        if self._failures:
            _log.info("%s: recovered after %d failed attempts", self._stage, self._failures)
            self._failures, self._counters.away = 0, ""

    async def wait(self, exc: ConnectorError, *, opening: bool = False) -> None:
        """Wait before another attempt; raises the error itself if there is to be none.

        `opening` says that it cannot be opened again, after it was: then the other side is away, whatever is raised.
        """
        if isinstance(exc, ConfigurationError | RecordsError):
            raise exc
        self._failures += 1
        if not (opening or isinstance(exc, TransientError)) and self._failures >= self._settings.attempts:
            raise exc
        asked = exc.retry_after if isinstance(exc, TransientError) else None
        seconds = asked if asked is not None else self._settings.backoff.wait(self._failures)
        loop = asyncio.get_running_loop()
        if (now := loop.time()) >= self._tell_from:
            _log.warning("%s: %s; retrying in %.1f s", self._stage, exc, seconds)
            self._tell_from = now + TELL_EVERY
        self._counters.away = message_of(exc, MAX_DETAIL)
        until = now + seconds
        while (left := until - loop.time()) > 0 and not self._context.stopping.is_set():
            await self._context.rest(min(left, self._settings.claim_after / 3))
            await self._beat()
