"""Retention: trimming what every group of a stream has acked, and nothing else (invariant I3).

MAXLEN would trim entries that nobody has acked yet; so the bound is worked out on the server, from all groups
of the stream, foreign ones included, in the same script as XTRIM MINID
(https://redis.io/docs/latest/commands/xtrim/).
"""

from __future__ import annotations

from papyra_flow.streams.scripts import call_script
from papyra_flow.streams.wire import Wire


async def trim_acked(wire: Wire, key: str, *, exact: bool = False, keep: float = 0.0) -> int:
    """Trim what every group has acked; returns how many entries.

    `exact` trims to the entry, else whole nodes of the stream's tree, which is cheaper. `keep` seconds: only
    entries older than that, by their ids and the server's clock.
    """
    reply = await call_script(wire, "trim", [key], ["=" if exact else "~", int(keep * 1000)])
    return reply if isinstance(reply, int) else 0
