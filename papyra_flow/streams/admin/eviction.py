"""Whether a server evicts keys without a time to live: then it may throw away any of a pipeline's.

https://redis.io/docs/latest/develop/reference/eviction/. INFO tells the policy, too, which CONFIG GET is often not
allowed to.
"""

from __future__ import annotations

from papyra_flow.streams.connection.client import Client


async def evicted_keys(client: Client) -> int:
    """Keys that the server has evicted since it started, if its policy lets it evict ours; else 0."""
    memory, stats = await _info(client, "memory"), await _info(client, "stats")
    policy = memory.get("maxmemory_policy", "noeviction")
    return int(stats.get("evicted_keys", 0)) if policy.startswith("allkeys") else 0


async def eviction_words(client: Client) -> str:
    """What to say of keys that are gone: how many were evicted, by which policy; nothing where none were."""
    if not (count := await evicted_keys(client)):
        return ""
    policy = (await _info(client, "memory"))["maxmemory_policy"]
    return f" (the server has evicted {count:,} keys: set its maxmemory-policy to noeviction, it is {policy})"


async def _info(client: Client, section: str) -> dict[str, str]:
    reply = await client.call("INFO", section)
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
