"""The Lua scripts in `lua/`, and calling them: EVALSHA, and EVAL where the server does not know one.

What each script does stands at its top. A script is never repeated here after its reply was lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from papyra_flow.errors import CommandRefusedError, FencedError
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.connection.server_errors import NO_SCRIPT


def is_unknown(reply: object) -> bool:
    """Whether a reply says that the server does not know the script: it has done nothing."""
    return isinstance(reply, CommandRefusedError) and NO_SCRIPT in str(reply)


@cache
def source_of(name: str) -> tuple[str, str]:
    """A script's text and its SHA-1, as EVALSHA wants it."""
    text = (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


async def call_script(client: Client, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
    """Run a script; raises FencedError where it found another owner, else as `Wire.call` does."""
    text, sha = source_of(name)
    try:
        try:
            return await client.call("EVALSHA", sha, len(keys), *keys, *arguments)
        except CommandRefusedError as exc:
            if not is_unknown(exc):
                raise
            return await client.call("EVAL", text, len(keys), *keys, *arguments)
    except CommandRefusedError as exc:
        if "FENCED" in str(exc):
            raise FencedError(str(exc).partition("FENCED ")[2]) from exc
        raise
