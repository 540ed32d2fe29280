"""What a server answers, as it goes over the connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias


class Refused(Exception):  # noqa: N818 - it is a reply
    """An error reply."""


class Status(bytes):
    """A status reply such as OK."""


OK = Status(b"OK")
Reply: TypeAlias = int | bytes | Sequence["Reply"] | Refused | None


def encoded(reply: Reply) -> bytes:
    """A reply in RESP2."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Refused):
        return b"-%s\r\n" % str(reply).encode()
    if isinstance(reply, Status):
        return b"+%s\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"*%d\r\n%s" % (len(reply), b"".join(map(encoded, reply)))
