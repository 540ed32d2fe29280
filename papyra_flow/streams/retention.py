"""Retention: trimming what every group of a stream has acked, and nothing else (invariant I3).

MAXLEN would trim entries that are not acknowledged yet; so the bound is worked out on the server, from all groups
of the stream, foreign ones included, in the same script as XTRIM MINID
(https://redis.io/docs/latest/commands/xtrim/). Trimming whole nodes, the server does 10,000 entries a call at the
most and says nothing of the rest, so it is called until there is nothing left to trim.
"""

from __future__ import annotations

from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.scripts import call_script


async def trim_acked(client: Client, key: str, *, exact: bool = False, keep: float = 0.0) -> int:
    """Trim what every group has acked; returns how many entries.

    `exact` trims to the entry, else whole nodes of the stream's tree, which is cheaper. `keep` seconds: only
    entries older than that, by their ids and the server's clock.
    """
    total = 0
    while trimmed := await _trim(client, key, "~", keep):
        total += trimmed
    return total + (await _trim(client, key, "=", keep) if exact else 0)


async def _trim(client: Client, key: str, how: str, keep: float) -> int:
    reply = await call_script(client, "trim", [key], [how, int(keep * 1000)])
    return reply if isinstance(reply, int) else 0
