"""Paused stages: a hash `{pipeline}:@paused`, stage by stage, that every worker looks at.

A paused stage commits what it is processing and takes nothing more; nothing is lost, and its backlog grows.
"""

from __future__ import annotations

from papyra_flow.streams.connection.client import Client


async def pause(client: Client, key: str, stage: str) -> None:
    """Pause a stage, in all workers, until it is resumed."""
    await client.call("HSET", key, stage, 1)


async def resume(client: Client, key: str, stage: str) -> None:
    """Let a stage continue."""
    await client.call("HDEL", key, stage)


async def paused(client: Client, key: str) -> frozenset[str]:
    """The stages that are paused."""
    reply = await client.call("HGETALL", key)
    names = reply[::2] if isinstance(reply, list) else []
    return frozenset(name.decode(errors="replace") for name in names if isinstance(name, bytes))
