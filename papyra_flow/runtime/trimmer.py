"""Retention at work: streams that somebody has acked on are trimmed, now and then, and exactly at the end."""

from __future__ import annotations

import asyncio
import logging

from papyra_flow.errors import ServerError
from papyra_flow.streams.retention import trim_acked
from papyra_flow.streams.wire import Wire

EVERY_SECONDS = 0.5
_log = logging.getLogger("papyra_flow.retention")


class Trimmer:
    """Trims the streams of a process; `keep` says for each key how long acked entries stay, in seconds."""

    def __init__(self, wire: Wire, keep: dict[str, float]) -> None:
        self._wire = wire
        self._keep = keep
        self._touched: set[str] = set()
        self._something = asyncio.Event()

    def touch(self, key: str) -> None:
        """Entries of a stream were acked."""
        if key in self._keep and key not in self._touched:
            self._touched.add(key)
            self._something.set()

    async def run(self) -> None:
        """Trim what was touched, not more often than every `EVERY_SECONDS`; until cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(EVERY_SECONDS)
            self._something.clear()
            touched, self._touched = self._touched, set()
            try:
                for key in touched:
                    await trim_acked(self._wire, key, keep=self._keep[key])
            except ServerError as exc:
                _log.debug("not trimmed this time: %s", exc)

    async def finish(self) -> None:
        """Trim everything to the entry."""
        for key, keep in self._keep.items():
            await trim_acked(self._wire, key, exact=True, keep=keep)
