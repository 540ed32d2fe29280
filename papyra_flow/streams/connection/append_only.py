"""Rule 6 of the commit: no commit goes behind the end of an append-only file that may be cut inside another one.

Redis (seen with 7.0.15 and 8.0) truncates such a file after the last whole command when it loads it, and leaves the
cut commit's MULTI open in it: the next EXEC behind it, at the restart after this one, executes half of that commit
beside the one that was made again. Valkey takes the open MULTI back (seen with 9.1). Once the file has been rewritten
since the server started there is nothing of the kind in it, so a server that may be affected is asked for that
(https://redis.io/docs/latest/commands/bgrewriteaof/) before anything else is sent to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from papyra_flow.errors import CommandRefusedError
from papyra_flow.streams.connection.connection import Reply

REWRITE_BELOW = 1024**3
"""Memory, in bytes, up to which a server's file is rewritten, which then takes a few seconds."""

LONGEST_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 0.02
SAFE_VALKEY = 9
CURE = "run BGREWRITEAOF, or `redis-check-aof --fix` before the next start, or else half a commit may be executed twice"

Ask: TypeAlias = Callable[..., Awaitable[Reply]]
_log = logging.getLogger("papyra_flow.server")


class AppendOnlyGuard:
    """Sees to it once for every start of the server that it meets; `limit` is in bytes of memory, 0 for never."""

    def __init__(self, limit: int = REWRITE_BELOW) -> None:
        self._limit = limit
        self._met = ""
        self._turn = asyncio.Lock()

    async def __call__(self, ask: Ask) -> None:
        """Have a newly connected server ready for commits; `ask` sends it a command. Raises what `ask` does."""
        async with self._turn:
            try:
                facts = await _facts(ask)
            except CommandRefusedError:
                return  # INFO is not allowed: what needs it says so
            if facts.get("run_id") != self._met:
                if is_affected(facts):
                    await self._rewrite(ask, facts)
                self._met = facts.get("run_id", "")

    async def _rewrite(self, ask: Ask, facts: dict[str, str]) -> None:
        if (used := int(facts.get("used_memory", 0))) > self._limit:
            _warn(f"it uses {used:,} bytes of memory, more than --rewrite-aof allows ({self._limit:,})")
            return
        try:
            await ask("BGREWRITEAOF")
        except CommandRefusedError as exc:
            if "in progress" not in str(exc):
                _warn(str(exc))
                return
        deadline = asyncio.get_running_loop().time() + LONGEST_SECONDS
        while _is_rewriting(facts := await _facts(ask)):
            if asyncio.get_running_loop().time() > deadline:
                _warn(f"rewriting it takes longer than {LONGEST_SECONDS:g} s")
                return
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        if is_affected(facts):
            _warn("rewriting it failed; check the server's log")
        else:
            _log.info("the server's append-only file was rewritten before the first commit")


def is_affected(facts: dict[str, str]) -> bool:
    """Whether INFO tells of a server that may have a cut commit in the file that it appends to."""
    if facts.get("aof_enabled") != "1":
        return False
    if "valkey_version" in facts and int(facts["valkey_version"].split(".")[0]) >= SAFE_VALKEY:
        return False
    done = facts.get("aof_rewrites", "0") != "0" and facts.get("aof_last_bgrewrite_status") == "ok"
    return not done or _is_rewriting(facts)


def _is_rewriting(facts: dict[str, str]) -> bool:
    return "1" in {facts.get("aof_rewrite_in_progress"), facts.get("aof_rewrite_scheduled")}


async def _facts(ask: Ask) -> dict[str, str]:
    reply = await ask("INFO", "server", "memory", "persistence")
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _warn(reason: str) -> None:
    _log.warning("a crash may have damaged the server's append-only file: %s. %s", reason, CURE)
