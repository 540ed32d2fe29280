"""One connection that many callers share: commands go out at once, replies come back in order.

The connection is redis-py's (TLS, authentication, Sentinel, reconnecting included); packing and replies are
hiredis' own, which costs a tenth of what redis-py's command layer does. A cancelled caller leaves the
connection in step, because a reader task takes every reply off the wire. Nothing is ever sent twice here:
whoever calls knows whether its command may be repeated.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias, Union

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from papyra_flow.errors import CommandRefusedError, ConnectionLostError, ServerError, ServerUnreachableError
from papyra_flow.streams.refusals import refusal, reply_text

Argument: TypeAlias = str | bytes | int | float
Reply: TypeAlias = Union[None, int, bytes, Sequence["Reply"]]


class Wire:
    """A shared, self-reconnecting connection; `timeout` is how many seconds a reply may take."""

    def __init__(self, pool: ConnectionPool[AbstractConnection], *, timeout: float = 30.0) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def call(self, *arguments: Argument, timeout: float | None = None) -> Reply:
        """Send one command and return its raw reply.

        Raises ServerUnreachableError when there is no connection to be had (the command was not sent),
        ConnectionLostError when it broke before the reply, other ServerErrors for error replies.
        """
        connection = self._connection or await self._connect()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            # Nothing suspends between the append above and the write, so replies match their callers.
            await connection.send_packed_command([hiredis.pack_command(arguments)], check_health=False)
            async with asyncio.timeout(timeout or self._timeout):
                return await future
        except TimeoutError:
            await self._drop(connection, "no reply came in time")
            raise ConnectionLostError(f"the server did not answer {arguments[0]!s} in time") from None
        except (RedisError, OSError) as exc:
            await self._drop(connection, str(exc))
            raise ConnectionLostError(f"the connection to the server was lost: {exc}") from exc

    async def call_many(self, commands: Sequence[Sequence[Argument]]) -> list[Reply | ServerError]:
        """Send commands in one go and return their replies in order, error replies as values.

        Raises as `call` does when the connection is not there or breaks.
        """
        if not commands:
            return []
        connection = self._connection or await self._connect()
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        self._waiting.extend(futures)
        try:
            packed = [hiredis.pack_command(tuple(command)) for command in commands]
            await connection.send_packed_command(packed, check_health=False)
            async with asyncio.timeout(self._timeout):
                replies = await asyncio.gather(*futures, return_exceptions=True)
        except TimeoutError:
            await self._drop(connection, "no reply came in time")
            raise ConnectionLostError("the server did not answer in time") from None
        except (RedisError, OSError) as exc:
            await self._drop(connection, str(exc))
            raise ConnectionLostError(f"the connection to the server was lost: {exc}") from exc
        results: list[Reply | ServerError] = []
        for reply in replies:
            if isinstance(reply, ConnectionLostError) or (
                isinstance(reply, BaseException) and not isinstance(reply, ServerError)
            ):
                raise reply
            results.append(reply)
        return results

    async def close(self) -> None:
        """Close the connection; callers still waiting get a ConnectionLostError."""
        if self._connection is not None:
            await self._drop(self._connection, "closed")

    async def _connect(self) -> AbstractConnection:
        async with self._connecting:
            if self._connection is not None:
                return self._connection
            connection = self._pool.make_connection()
            try:
                await connection.connect()
            except AuthenticationError as exc:
                raise CommandRefusedError(f"the server does not let us in: {exc}") from exc
            except ResponseError as exc:
                raise refusal(reply_text(exc)) from exc
            except (RedisError, OSError) as exc:
                raise ServerUnreachableError(f"no server answers: {exc}") from exc
            self._connection = connection
            self._reading = asyncio.create_task(self._read(connection))
            return connection

    async def _read(self, connection: AbstractConnection) -> None:
        waiting = self._waiting
        try:
            while True:
                try:
                    reply = await connection.read_response(disable_decoding=True, timeout=math.inf)
                except ResponseError as exc:
                    future = waiting.popleft()
                    if not future.done():
                        future.set_exception(refusal(reply_text(exc)))
                    continue
                future = waiting.popleft()
                if not future.done():
                    future.set_result(reply)
        except (RedisError, OSError, IndexError) as exc:
            await self._drop(connection, str(exc))

    async def _drop(self, connection: AbstractConnection, reason: str) -> None:
        if self._connection is not connection:
            return
        self._connection = None
        waiting, self._waiting = self._waiting, deque()
        reading, self._reading = self._reading, None
        if reading is not None and reading is not asyncio.current_task():
            reading.cancel()
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionLostError(f"the connection to the server was lost: {reason}"))
                future.exception()  # its caller may be gone: do not warn about what nobody awaits
        await connection.disconnect(nowait=True)
