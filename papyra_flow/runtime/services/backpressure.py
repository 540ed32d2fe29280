"""Backpressure: no stage writes to a stream whose slowest reader is `max_backlog` behind.

What a reader has put off (`Retry(after=1h)`) waits on the server like its backlog, and counts as such: else a reader
that puts off everything would fill the server's memory.

Asking the server before each batch would cost more than it brings: one look grants as many records as half of
what is free, and only when those are spent is there another look. What was read and is not committed yet counts as
written. Without room, a look follows each
commit of a reader in this process, and a timer covers readers elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.groups.lag import Counter
from papyra_flow.streams.groups.snapshot import StreamPosition, look

LOOK_AGAIN_SECONDS = 0.25


class Gate:
    """The room in one stream, as far as this process knows."""

    def __init__(
        self,
        client: Client,
        *,
        keys: Sequence[str],
        groups: Sequence[str],
        limit: int,
        stopping: asyncio.Event,
        later: Sequence[str] = (),
    ) -> None:
        """`keys` are its partitions; `later` are the sets in which those groups' stages let records wait."""
        self._client = client
        self._keys = list(keys)
        self._groups = groups
        self._later = later
        self._limit = limit
        self._stopping = stopping
        self._granted = 0
        self._reserved = 0
        self._relieved = asyncio.Event()
        self._retry_policy = RetryPolicy(self._keys[0])
        self._counters = {(key, group): Counter(client, key) for key in keys for group in groups}

    @property
    def open(self) -> bool:
        """Whether something may be written, as far as is known without asking."""
        return self._granted > 0

    async def room(self) -> None:
        """Wait until something may be written, or the process is to stop."""
        while self._granted <= 0 and not self._stopping.is_set():
            self._relieved.clear()
            free = self._limit - await self._retry_policy.keep_trying(self._backlog) - self._reserved
            if free > 0:
                self._granted = max(1, free // 2)
                return
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._relieved.wait()
            except TimeoutError:
                continue

    async def _backlog(self) -> int:
        """The slowest reader's backlog; what would close the gate is counted where the server may be wrong about it."""
        streams = list((await look(self._client, self._keys)).streams.values())
        found = [await self._backlog_of(group, streams) for group in self._groups]
        replies = await self._client.call_many([("ZCARD", key) for key in self._later])
        put_off = [reply if isinstance(reply, int) else 0 for reply in replies] or [0] * len(found)
        return max((backlog + waits for backlog, waits in zip(found, put_off, strict=True)), default=0)

    async def _backlog_of(self, name: str, streams: Sequence[StreamPosition]) -> int:
        told = sum(stream.backlog([name]) for stream in streams)
        if told < self._limit - self._reserved:
            return told
        backlog = 0
        for stream in streams:
            group = stream.groups.get(name)
            if group is None or not group.lag:
                backlog += stream.backlog([name])
            else:
                counter, most = self._counters[stream.key, name], max(1, self._limit)
                backlog += group.pending + await counter.lag(group, stream.length, at_most=most)
        return backlog

    def reserve(self, records: int) -> None:
        """Entries were read that may become as many records."""
        self._granted -= records
        self._reserved += records

    def spend(self, records: int, reserved: int = 0) -> None:
        """Records were written, for which `reserved` had been set aside."""
        self._granted += reserved - records
        self._reserved -= reserved
        if reserved > records:
            self._relieved.set()

    def relieve(self) -> None:
        """A reader has acked something: it may be worth another look."""
        self._relieved.set()


class Gates:
    """The gates of a process, by the stream's name in the file."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def add(self, name: str, gate: Gate) -> None:
        """A stream with a limit."""
        self._gates[name] = gate

    def open(self, streams: Iterable[str]) -> bool:
        """Whether each of these streams is known to have room."""
        return all(gate.open for name in streams if (gate := self._gates.get(name)))

    async def room(self, streams: Iterable[str]) -> None:
        """Wait until each of these streams has room."""
        for name in streams:
            if gate := self._gates.get(name):
                await gate.room()

    def reserve(self, streams: Iterable[str], records: int) -> None:
        """Entries were read that may become as many records in any of these streams."""
        for name in streams:
            if gate := self._gates.get(name):
                gate.reserve(records)

    def spend(self, stream: str, records: int, reserved: int = 0) -> None:
        """Records were written to a stream, for which `reserved` had been set aside."""
        if gate := self._gates.get(stream):
            gate.spend(records, reserved)

    def relieve(self, stream: str) -> None:
        """Entries of a stream were acked."""
        if gate := self._gates.get(stream):
            gate.relieve()
