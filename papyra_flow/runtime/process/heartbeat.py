"""Telling the server, every few seconds, what this process has done: so that every view of it shows all workers.

A process with nothing new says only now and then that it is alive. A report that cannot be written is not worth a word:
whatever is wrong with the server, the stages notice.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.observe.counters import RunCounters
from papyra_flow.observe.reports import EVERY_SECONDS, GONE_AFTER_SECONDS, remove_report, server_time, write_report
from papyra_flow.runtime.services.timing import ServerClock
from papyra_flow.streams.connection.client import Client


class Heartbeat:
    """Reports of one process; `run` it, `leave` at an orderly end."""

    def __init__(self, client: Client, key: str, process: str, counters: RunCounters, clock: ServerClock) -> None:
        self._client = client
        self._key = key
        self._process = process
        self._counters = counters
        self._clock = clock
        self._started = 0.0
        self._last = 0.0
        self._told: object = None

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            with suppress(ServerError):
                await self._report()
            await asyncio.sleep(EVERY_SECONDS)

    async def _report(self) -> None:
        if not self._due:
            return
        asked = time.monotonic()
        now = await server_time(self._client)
        self._clock.learn(now, asked)
        self._started = self._started or now
        self._told, self._last = self._state(), asyncio.get_running_loop().time()
        await write_report(self._client, self._key, self._process, self._counters, now=now, started=self._started)

    @property
    def _due(self) -> bool:
        alive = asyncio.get_running_loop().time() - self._last < GONE_AFTER_SECONDS / 3
        return not (alive and self._told == self._state())

    def _state(self) -> object:
        return [
            (one.read, one.written, one.retried, one.dead, one.emitted.total())
            for one in self._counters.stages.values()
        ]

    async def leave(self) -> None:
        """Take the report back."""
        await remove_report(self._client, self._key, self._process)
