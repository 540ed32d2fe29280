"""One live connection: commands go out at once, replies come back in order.

The connection was made by redis-py (TLS, authentication, Sentinel); once it stands, this takes the place of the
streams that redis-py reads from, and gives every reply to its waiting caller as soon as its bytes are there. A
caller that is cancelled leaves the connection in step: its reply is still taken off the wire.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import hiredis

from papyra_flow.errors import ConnectionLostError
from papyra_flow.streams.connection.server_errors import refusal

Reply: TypeAlias = int | bytes | Sequence["Reply"] | None
_NOTHING = object()
_DEPOSED = ("READONLY ", "MOVED ", "CLUSTERDOWN ")
"""How a server answers that another one is in its place, or may be."""


class Receiver(Protocol):
    """Who gets a reply: a future, or what else wants it as soon as it is there, in the middle of its arrival."""

    def done(self) -> bool:
        """Whether it does not want the reply any more."""

    def set_result(self, reply: Reply, /) -> None:
        """The reply."""

    def set_exception(self, exc: BaseException, /) -> None:
        """Why there is none: a ServerError."""


class _Writer(Protocol):
    @property
    def transport(self) -> asyncio.Transport: ...


class Made(Protocol):
    """What is used of a connection that redis-py has made."""

    @property
    def _writer(self) -> _Writer: ...

    async def connect(self) -> None:
        """Open it, and introduce ourselves."""

    async def disconnect(self, nowait: bool = False) -> None:
        """Close it."""


class _ErrorReply(Exception):  # noqa: N818 - an error only once it has been looked at
    """An error reply as the server sent it."""


class LiveConnection(asyncio.Protocol):
    """A connection's two ends; `ended` says that nothing can be sent any more."""

    def __init__(self, made: Made) -> None:
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(replyError=_ErrorReply, notEnoughData=_NOTHING)
        self._waiting: deque[tuple[Receiver, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._transport = made._writer.transport  # noqa: SLF001 - redis-py has no public name for it
        self._transport.set_protocol(self)
        self.ended = False

    def send(self, packed: Sequence[bytes], receivers: Sequence[Receiver], timeout: float) -> None:
        """Send commands, each with who gets its reply; one that takes longer than `timeout` ends the link.

        A reply's exception is a ServerError, ConnectionLostError when the link ended before it came.
        """
        deadline = self._loop.time() + timeout
        if self.ended or self._transport.is_closing():
            self._end("it was closed")
            for receiver in receivers:
                _fail(receiver, "it was closed")
            return
        self._waiting.extend((receiver, deadline) for receiver in receivers)
        if self._watch is None or deadline < self._watch.when():
            self._watch_from(deadline)
        try:
            self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))
        except (OSError, RuntimeError) as exc:  # uvloop has a RuntimeError for a transport that is closed already
            self._end(str(exc))

    def close(self) -> None:
        """End the link; callers still waiting get a ConnectionLostError."""
        self._end("closed")

    # -- what the event loop calls ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Give every reply that is complete to its caller."""
        gets, waiting = self._replies.gets, self._waiting
        try:
            self._replies.feed(data)
            while not self.ended and (reply := gets()) is not _NOTHING:
                receiver, _ = waiting.popleft()
                if isinstance(reply, _ErrorReply):
                    self._refused(receiver, str(reply))
                elif not receiver.done():
                    receiver.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as exc:
            self._end(f"invalid reply from the server: {exc}")

    def _refused(self, receiver: Receiver, message: str) -> None:
        if not receiver.done():
            receiver.set_exception(refusal(message))
        if message.startswith(_DEPOSED):
            # It still keeps its connections: the next one goes to its successor.
            self._end("the server has become a replica, or lost its part of the cluster")

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or the system, has closed the connection."""
        self._end(str(exc) if exc is not None else "the server closed it")

    # -- its end ----------------------------------------------------------------------------------------------

    def _watch_from(self, deadline: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """One timer for all calls: it is set again when it goes off, not with every call."""
        self._watch = None
        if not self._waiting:
            return
        earliest = min(deadline for _, deadline in self._waiting)
        if earliest <= self._loop.time():
            self._end("no reply came in time")
        else:
            self._watch_from(earliest)

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        if self._watch is not None:
            self._watch.cancel()
        waiting, self._waiting = self._waiting, deque()
        self._transport.abort()
        for receiver, _ in waiting:
            _fail(receiver, reason)


def _fail(receiver: Receiver, reason: str) -> None:
    if not receiver.done():
        receiver.set_exception(ConnectionLostError(f"the connection to the server was lost: {reason}"))
        if isinstance(receiver, asyncio.Future):
            receiver.exception()  # its caller may be gone: do not warn about what is awaited no more
