"""Where a partition's state lies: a hash for its fields and a sorted set for its timers, on the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from papyra_flow.errors import CommandRefusedError
from papyra_flow.state.store import Timer
from papyra_flow.streams.commit.ownership import PartitionKeys
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.retry_policy import RetryPolicy


class StateKeeper(Protocol):
    """What has been committed of a partition's state."""

    async def values(self, fields: Sequence[bytes]) -> Sequence[bytes | None]:
        """What fields hold, as JSON; None for one that is not there."""

    async def timers(self, until: int | None, most: int) -> list[Timer]:
        """The first timers, so many at most, in order of time and then member; all times where `until` is None."""


class ServerState:
    """A partition's state on the server; a server that goes away is waited for."""

    def __init__(self, client: Client, keys: PartitionKeys, retry_policy: RetryPolicy) -> None:
        self._client = client
        self._keys = keys
        self._retry_policy = retry_policy

    async def values(self, fields: Sequence[bytes]) -> Sequence[bytes | None]:
        """As `StateKeeper.values`; raises ServerErrors."""
        return await self._call("HMGET", self._keys.state, *fields)

    async def timers(self, until: int | None, most: int) -> list[Timer]:
        """As `StateKeeper.timers`; raises ServerErrors."""
        limit = "+inf" if until is None else until
        found = await self._call(
            "ZRANGE", self._keys.timers, "-inf", limit, "BYSCORE", "LIMIT", 0, most, "WITHSCORES"
        )  # fmt: skip
        return [Timer(int(float(at)), member) for member, at in zip(found[::2], found[1::2], strict=True)]

    async def _call(self, *command: str | bytes | int) -> list[bytes]:
        reply = await self._retry_policy.keep_trying(lambda: self._client.call(*command))
        if not isinstance(reply, list):
            raise CommandRefusedError(f"{command[0]!s} answered {reply!r}")
        return reply
