"""One connection that many callers share, and that is made again when it is lost.

The connection is redis-py's (TLS, authentication, Sentinel included); packing is hiredis' own, which costs a tenth
of what redis-py's command layer does. Nothing is ever sent twice here: the caller knows whether its command may
be repeated.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

import hiredis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from papyra_flow.errors import (
    CommandRefusedError,
    ConnectionLostError,
    OpenFilesError,
    ServerError,
    ServerUnreachableError,
)
from papyra_flow.streams.connection.connection import LiveConnection, Made, Receiver, Reply
from papyra_flow.streams.connection.server_errors import refusal, reply_text

__all__ = ["Argument", "Client", "Pool", "Receiver", "Reply"]

_CLOSED = "Connection closed by server"
TRIES = 3
"""Connection attempts before a server that accepts and closes them counts as not answering."""

Argument: TypeAlias = str | bytes | int | float
Greet: TypeAlias = Callable[[Callable[..., Awaitable[Reply]]], Awaitable[None]]
"""What is done first on a new connection, with a function that sends a command on it."""


class Pool(Protocol):
    """What makes connections: redis-py's pools, or what speaks the same protocol without a network."""

    def make_connection(self) -> Made:
        """A connection that is still to be opened."""

    async def disconnect(self) -> None:
        """Close what it has kept."""


class Client:
    """A shared, self-reconnecting connection; `timeout` is how many seconds a reply may take."""

    def __init__(self, pool: Pool, *, timeout: float = 30.0, greet: Greet | None = None) -> None:
        """`greet` is awaited with every new connection, before its first caller."""
        self._pool = pool
        self._greet = greet
        self._timeout = timeout
        self._connection: Made | None = None
        self._link: LiveConnection | None = None
        self._connecting = asyncio.Lock()
        self.connections = 0
        """How many connections were made so far."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection just now."""
        return self._link is not None and not self._link.ended

    async def call(self, *arguments: Argument, timeout: float | None = None) -> Reply:
        """Send one command and return its raw reply.

        Raises ServerUnreachableError when no connection can be made (the command was not sent),
        ConnectionLostError when it broke before the reply, other ServerErrors for error replies.
        """
        link = self._link
        if link is None or link.ended:
            link = await self._connect()
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        link.send((_packed(arguments),), (reply,), timeout or self._timeout)
        return await reply

    def begin(self, receiver: Receiver, *arguments: Argument, timeout: float) -> bool:
        """Send one command now for a receiver that gets its reply; False, and nothing done, without a connection."""
        link = self._link
        if link is None or link.ended:
            return False
        link.send((_packed(arguments),), (receiver,), timeout)
        return True

    async def call_many(self, commands: Sequence[Sequence[Argument]]) -> list[Reply | ServerError]:
        """Send commands in one go and return their replies in order, error replies as values.

        Raises as `call` does when the connection is not there or breaks.
        """
        if not commands:
            return []
        link = self._link
        if link is None or link.ended:
            link = await self._connect()
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Reply]] = [loop.create_future() for _ in commands]
        link.send([_packed(command) for command in commands], futures, self._timeout)
        results: list[Reply | ServerError] = []
        for reply in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(reply, ConnectionLostError) or (
                isinstance(reply, BaseException) and not isinstance(reply, ServerError)
            ):
                raise reply
            results.append(reply)
        return results

    async def close(self) -> None:
        """Close the connection; callers still waiting get a ConnectionLostError."""
        link, self._link = self._link, None
        connection, self._connection = self._connection, None
        if link is not None:
            link.close()
        if connection is not None:
            with suppress(RedisError, OSError, RuntimeError):
                await connection.disconnect(nowait=True)

    async def _connect(self) -> LiveConnection:
        async with self._connecting:
            if self._link is not None and self.connected:
                return self._link
            await self.close()
            connection = await self._made()
            link = LiveConnection(connection)
            if self._greet is not None:
                try:
                    await self._greet(lambda *command: _asked(link, command, self._timeout))
                except BaseException:
                    link.close()
                    raise
            self._connection, self._link = connection, link
            self.connections += 1
            return link

    async def _made(self) -> Made:
        """A connection that redis-py has introduced; one that broke in the middle of that is tried again."""
        tries = TRIES
        while True:
            connection = self._pool.make_connection()
            try:
                await connection.connect()
            except (RedisError, OSError) as exc:
                tries -= 1
                if not tries or _CLOSED not in str(exc):
                    raise _not_let_in(exc, again=self.connections > 0) from exc
            else:
                return connection


async def _asked(link: LiveConnection, command: Sequence[Argument], timeout: float) -> Reply:
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    link.send((_packed(command),), (reply,), timeout)
    return await reply


def _not_let_in(exc: Exception, *, again: bool) -> ServerError | OpenFilesError:
    """Why no connection could be made: redis-py wraps what the server answered to AUTH and the like."""
    causes = (exc, exc.__cause__, exc.__context__)
    if any(isinstance(e, OSError) and e.errno in {errno.EMFILE, errno.ENFILE} for e in causes):
        return OpenFilesError()
    answered = next((e for e in (exc, exc.__cause__) if isinstance(e, AuthenticationError | ResponseError)), None)
    if isinstance(answered, AuthenticationError):
        later = "; it worked before: was the password or user changed? pending entries stay for the next run"
        return CommandRefusedError(f"authentication failed: {answered}{later if again else ''}")
    if answered is not None:
        return refusal(reply_text(answered))
    return ServerUnreachableError(f"no server answers: {exc}")


def _packed(command: Sequence[Argument]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed
