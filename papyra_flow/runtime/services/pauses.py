"""Stages that are paused, as this process knows: it looks at the server every second."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.streams.admin.pauses import paused
from papyra_flow.streams.connection.client import Client

EVERY_SECONDS = 1.0
_log = logging.getLogger("papyra_flow.stage")


class Pauses:
    """Which stages take nothing more for now."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = key
        self._stages: frozenset[str] = frozenset()

    def holds(self, stage: str) -> bool:
        """Whether a stage is paused."""
        return stage in self._stages

    async def look(self) -> None:
        """Learn which stages are paused; one that begins or ends is told."""
        stages = await paused(self._client, self._key)
        for name in stages ^ self._stages:
            _log.warning("%s is paused" if name in stages else "%s is resumed", name)
        self._stages = stages

    async def run(self) -> None:
        """Look again and again, until cancelled; a server that does not answer changes nothing."""
        while True:
            with suppress(ServerError):
                await self.look()
            await asyncio.sleep(EVERY_SECONDS)
