"""The real Lua scripts, run as a server runs them: what `redis` gives them calls the commands in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any  # what Lua gives and takes

import msgspec
from lupa.lua51 import LuaRuntime, lua_type

from tests.harness.memory.replies import Refused, Reply, Status


class Scripts:
    """A server's scripts; it knows one once it was sent as a whole, as real ones do."""

    def __init__(self, call: Callable[[Sequence[bytes]], Reply]) -> None:
        self._call = call
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._known: dict[bytes, Any] = {}
        self.names = _names()
        """Scripts' names by their SHA-1."""
        table = self._lua.table_from
        self._lua.globals()[b"redis"] = table(
            {
                b"call": lambda *arguments: self._lua_of(self._call(_texts(arguments))),
                b"pcall": self._pcall,
                b"error_reply": lambda text: table({b"err": text}),
                b"status_reply": lambda text: table({b"ok": text}),
            }
        )
        self._lua.globals()[b"cmsgpack"] = table(
            {
                b"pack": lambda values: msgspec.msgpack.encode(_listed(values)),
                b"unpack": lambda packed: table(msgspec.msgpack.decode(packed)),
            }
        )

    def flush(self) -> None:
        """Forget all scripts, as a server does that was started again."""
        self._known.clear()

    def run_known(self, sha: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Reply:
        """EVALSHA."""
        if sha not in self._known:
            raise Refused("NOSCRIPT No matching script. Please use EVAL.")
        return self._run(self._known[sha], keys, arguments)

    def run(self, text: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Reply:
        """EVAL."""
        sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        if sha not in self._known:
            body = b"--" + text if text.startswith(b"#!") else text
            self._known[sha] = self._lua.eval(b"function(KEYS, ARGV) " + body + b"\nend")
        return self._run(self._known[sha], keys, arguments)

    def _run(self, function: Any, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Reply:
        table = self._lua.table_from
        return _reply_of(function(table(keys), table(arguments)))

    def _pcall(self, *arguments: object) -> Any:
        try:
            return self._lua_of(self._call(_texts(arguments)))
        except Refused as exc:
            return self._lua.table_from({b"err": str(exc).encode()})

    def _lua_of(self, reply: Reply) -> Any:
        if reply is None:
            return False
        if isinstance(reply, Status):
            return self._lua.table_from({b"ok": bytes(reply)})
        if isinstance(reply, bytes | int):
            return reply
        if isinstance(reply, Refused):
            raise reply
        return self._lua.table_from([self._lua_of(part) for part in reply])


def _names() -> dict[bytes, str]:
    found = {}
    for file in (files("papyra_flow.streams") / "lua").iterdir():
        if file.name.endswith(".lua"):
            found[hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest().encode()] = file.name[:-4]
    return found


def _texts(arguments: Sequence[object]) -> list[bytes]:
    return [argument if isinstance(argument, bytes) else b"%d" % argument for argument in arguments]  # type: ignore[str-format]


def _listed(values: Any) -> list[object]:
    return [values[place] for place in range(1, len(values) + 1)]


def _reply_of(value: Any) -> Reply:
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, bytes):
        return value
    if lua_type(value) != "table":
        return int(value)
    if (error := value[b"err"]) is not None:
        raise Refused(error.decode())
    if (status := value[b"ok"]) is not None:
        return Status(status)
    found: list[Reply] = []
    while (part := value[len(found) + 1]) is not None:
        found.append(_reply_of(part))
    return found
