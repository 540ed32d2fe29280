"""What a server's error replies mean to us: which are cured by waiting, which are not.

The prefixes are those of Redis' and Valkey's own error replies (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors).
"""

from __future__ import annotations

import re

from redis.exceptions import RedisError

from papyra_flow.errors import (
    CommandRefusedError,
    GroupGoneError,
    ServerError,
    TryAgainError,
    WrongKeyTypeError,
)

NO_SCRIPT = "NOSCRIPT"
_PLACE_IN_SCRIPT = re.compile(r" script: (\w+, )?on @user_script:\d+\.?$")
_NO_PERMISSION = ("permissions", "can't run this command", "ACL failure")
_WAIT = frozenset({
    "ASK", "BUSY", "CLUSTERDOWN", "FAILOVER", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOREPLICAS", "OOM",
    "READONLY", "TRYAGAIN", "UNBLOCKED",
})  # fmt: skip


def refusal(message: str) -> ServerError:
    """The error that stands for a server's error reply."""
    message = _PLACE_IN_SCRIPT.sub("", message).strip()
    prefix = message.split(" ", 1)[0]
    if prefix == "NOGROUP" or message.startswith("The -NOGROUP"):
        return GroupGoneError(message)
    if prefix == "WRONGTYPE" or "WRONGTYPE" in message:
        return WrongKeyTypeError(message)
    if prefix in _WAIT:
        return TryAgainError(f"the server temporarily refuses commands: {message}")
    if prefix in {"NOAUTH", "WRONGPASS", "NOPERM"} or any(words in message for words in _NO_PERMISSION):
        return CommandRefusedError(f"permission denied by the server: {message}")
    return CommandRefusedError(f"the server refused a command: {message}")


def lacks_right(reply: object) -> bool:
    """Whether an error reply says that the user may not do what was asked."""
    return isinstance(reply, ServerError) and ("NOPERM" in str(reply) or any(w in str(reply) for w in _NO_PERMISSION))


def reply_text(error: RedisError) -> str:
    """An error reply as the server sent it; redis-py takes some prefixes away and makes a class of them."""
    prefixes = {
        "BusyLoadingError": "LOADING",
        "NoScriptError": NO_SCRIPT,
        "ReadOnlyError": "READONLY",
        "OutOfMemoryError": "OOM",
        "NoPermissionError": "NOPERM",
        "AuthenticationError": "WRONGPASS",
        "AuthenticationWrongNumberOfArgsError": "NOAUTH",
        "ExecAbortError": "EXECABORT",
        "MasterDownError": "MASTERDOWN",
        "ClusterDownError": "CLUSTERDOWN",
        "TryAgainError": "TRYAGAIN",
    }
    text, prefix = str(error), prefixes.get(type(error).__name__)
    return text if prefix is None or text.startswith(prefix) else f"{prefix} {text}"
