"""Keepalive: entries in flight are not claimed away while their step takes long, nor partitions from their owner.

A thread with a connection of its own, because a step may block the event loop: entries held for longer than a
third of the claim time have their idle time reset (XCLAIM ... JUSTID, which leaves the delivery count alone), and
leases of partitions their last sign of life. A process that is stopped or dead refreshes nothing, and loses them, as it
should.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from papyra_flow.errors import PapyraFlowError
from papyra_flow.streams.commit.ownership import Ownership
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.retry_policy import TELL_EVERY
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.scripts import call_script

_log = logging.getLogger("papyra_flow.keepalive")


class Kept(Protocol):
    """What is kept alive; `key` is one of its keys, `period` after how many seconds it is refreshed."""

    @property
    def key(self) -> str:
        """One of its keys; any, where there is none yet."""

    period: float

    def overdue(self) -> bool:
        """Whether any of it is to be refreshed."""

    async def refresh(self, client: Client) -> None:
        """Refresh what is overdue; raises ServerErrors."""


class HeldLeases:
    """The partitions that a process owns of one stage, and when it last said so."""

    def __init__(self, period: float) -> None:
        self.period = period
        self._owned: list[Ownership] = []
        self._beaten = time.monotonic()

    @property
    def key(self) -> str:
        """The lease of one of them."""
        return self._owned[0].keys.lease if self._owned else ""

    def hold(self, ownership: Ownership) -> None:
        """A partition was taken."""
        self._owned = [*self._owned, ownership]

    def drop(self, ownership: Ownership) -> None:
        """A partition was let go, or lost."""
        self._owned = [one for one in self._owned if one is not ownership]

    def beaten(self) -> None:
        """The event loop has said that the owner is alive."""
        self._beaten = time.monotonic()

    def overdue(self) -> bool:
        """Whether the event loop has not come to say so for long."""
        return bool(self._owned) and time.monotonic() - self._beaten > self.period

    async def refresh(self, client: Client) -> None:
        """Say it in its place."""
        owned = self._owned
        await call_script(client, "own_beat", [one.keys.lease for one in owned], [one.token for one in owned])


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

    def overdue(self) -> bool:
        """Whether there are entries whose idle time is to start again."""
        return bool(self._overdue())

    def _overdue(self) -> list[bytes]:
        before = time.monotonic() - self.period
        return [id_ for id_, since in list(self._since.items()) if since < before]

    async def refresh(self, client: Client) -> None:
        """Let their idle time start again."""
        claimer = Claimer(client, key=self.key, group=self.group, consumer=self.consumer)
        ids = self._overdue()
        await claimer.refresh(ids)
        self.add(id_ for id_ in ids if self.has(id_))


class Keepalive:
    """The thread; `watch` what consumers hold, `start` it, `stop` it."""

    def __init__(self, url: str, apart: Callable[[str], Server] | None = None) -> None:
        """`apart` makes the thread's own connections to the server that has a key; without it they go to `url`."""
        self._apart = apart or (lambda key: Server(url, key=key))
        self._held: list[Kept] = []
        self._stopped = threading.Event()
        self._tell_from = 0.0
        self._thread = threading.Thread(target=self._run, name="papyra-flow-keepalive", daemon=True)

    def watch(self, held: Kept) -> None:
        """Refresh what a consumer, or owner, holds."""
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
            if due := [held for held in self._held if held.overdue()]:
                try:
                    asyncio.run(self._refresh(due))
                except (PapyraFlowError, OSError) as exc:
                    self._tell(exc)

    def _tell(self, exc: Exception) -> None:
        if (now := time.monotonic()) >= self._tell_from:
            _log.warning("in-flight entries could not be refreshed: %s", exc)
            self._tell_from = now + TELL_EVERY

    async def _refresh(self, due: Sequence[Kept]) -> None:
        server = self._apart(due[0].key)
        try:
            for held in due:
                await held.refresh(server.client)
        finally:
            await server.close()
