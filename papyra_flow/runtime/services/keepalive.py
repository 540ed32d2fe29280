"""Keepalive: entries in flight are not claimed away while their step takes long.

A thread with a connection of its own, because a step may block the event loop: entries held for longer than a
third of the claim time have their idle time reset (XCLAIM ... JUSTID, which leaves the delivery count alone).
A process that is stopped or dead refreshes nothing, and loses its entries, as it should.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable

from papyra_flow.errors import PapyraFlowError
from papyra_flow.streams.connection.retry_policy import TELL_EVERY
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Claimer

_log = logging.getLogger("papyra_flow.keepalive")


class Held:
    """The entries that one consumer has in flight on one stream, and since when."""

    def __init__(self, key: str, group: str, consumer: str, period: float) -> None:
        self.key = key
        self.group = group
        self.consumer = consumer
        self.period = period
        self._since: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, ids: Iterable[bytes]) -> None:
        """Entries were delivered."""
        now = time.monotonic()
        self._since.update(dict.fromkeys(ids, now))

    def remove(self, ids: Iterable[bytes]) -> None:
        """Entries were committed or given up."""
        for id_ in ids:
            self._since.pop(id_, None)

    def has(self, id_: bytes) -> bool:
        """Whether an entry is in flight."""
        return id_ in self._since

    def ids(self) -> list[bytes]:
        """All entries in flight."""
        return list(self._since)

    def overdue(self) -> list[bytes]:
        """Entries whose idle time is to start again."""
        before = time.monotonic() - self.period
        return [id_ for id_, since in list(self._since.items()) if since < before]


class Keepalive:
    """The thread; `watch` what consumers hold, `start` it, `stop` it."""

    def __init__(self, url: str, apart: Callable[[str], Server] | None = None) -> None:
        """`apart` makes the thread's own connections to the server that has a key; without it they go to `url`."""
        self._apart = apart or (lambda key: Server(url, key=key))
        self._held: list[Held] = []
        self._stopped = threading.Event()
        self._tell_from = 0.0
        self._thread = threading.Thread(target=self._run, name="papyra-flow-keepalive", daemon=True)

    def watch(self, held: Held) -> None:
        """Refresh what this consumer holds."""
        self._held.append(held)

    def start(self) -> None:
        """Start the thread, if there is anything to watch."""
        if self._held:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()

    def _run(self) -> None:
        period = min(held.period for held in self._held)
        while not self._stopped.wait(period / 2):
            due = [(held, ids) for held in self._held if (ids := held.overdue())]
            if due:
                try:
                    asyncio.run(self._refresh(due))
                except (PapyraFlowError, OSError) as exc:
                    self._tell(exc)

    def _tell(self, exc: Exception) -> None:
        if (now := time.monotonic()) >= self._tell_from:
            _log.warning("in-flight entries could not be refreshed: %s", exc)
            self._tell_from = now + TELL_EVERY

    async def _refresh(self, due: list[tuple[Held, list[bytes]]]) -> None:
        server = self._apart(due[0][0].key)
        try:
            for held, ids in due:
                claimer = Claimer(server.client, key=held.key, group=held.group, consumer=held.consumer)
                still = [id_ for id_ in ids if held.has(id_)]
                await claimer.refresh(still)
                held.add(id_ for id_ in still if held.has(id_))
        finally:
            await server.close()
