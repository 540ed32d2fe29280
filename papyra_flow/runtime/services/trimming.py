"""Retention at work: streams on which entries were acknowledged are trimmed, now and then, and exactly at the end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.retention import trim_acked

EVERY_SECONDS = 0.5
EVERY_ENTRIES = 10_000
"""Acked entries that a stream may hold beside its backlog: memory is not to depend on how fast they come."""

_log = logging.getLogger("papyra_flow.retention")


class Trimmer:
    """Trims the streams of a process; `keep` says for each key how long acked entries stay, in seconds."""

    def __init__(self, client: Client, keep: dict[str, float]) -> None:
        self._client = client
        self._keep = keep
        self._acked: dict[str, int] = {}
        self._something = asyncio.Event()
        self._much = asyncio.Event()

    def acked(self, key: str, entries: int) -> None:
        """Entries of a stream were acked."""
        if key in self._keep:
            self._acked[key] = self._acked.get(key, 0) + entries
            self._something.set()
            if self._acked[key] >= EVERY_ENTRIES:
                self._much.set()

    async def run(self) -> None:
        """Trim where something was acked, every `EVERY_SECONDS` or `EVERY_ENTRIES`; until cancelled."""
        while True:
            await self._something.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._much.wait()
            self._something.clear()
            self._much.clear()
            touched, self._acked = self._acked, {}
            try:
                for key in touched:
                    await trim_acked(self._client, key, keep=self._keep[key])
            except ServerError as exc:
                _log.debug("trimming skipped: %s", exc)

    async def finish(self) -> None:
        """Trim everything to the entry."""
        for key, keep in self._keep.items():
            await trim_acked(self._client, key, exact=True, keep=keep)
