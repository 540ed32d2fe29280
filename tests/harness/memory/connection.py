"""A connection to the server in memory: what redis-py would have made, and the transport below it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import hiredis

from tests.harness.memory.replies import encoded

if TYPE_CHECKING:
    from tests.harness.memory.server import MemoryServer


class MemoryConnection(asyncio.Transport):
    """One connection, its two halves in one object; commands are answered in their order."""

    def __init__(self, server: MemoryServer, number: int) -> None:
        super().__init__()
        self._writer = self
        self.transport = self
        self.number = number
        self._server = server
        self._reader = hiredis.Reader()
        self._protocol: asyncio.Protocol | None = None
        self._commands: deque[list[bytes]] = deque()
        self._working: asyncio.Task[None] | None = None
        self._closed = False

    # -- as redis-py's connections ----------------------------------------------------------------------------

    async def connect(self) -> None:
        """Fails while the server is away."""
        if self._server.away:
            raise ConnectionRefusedError(111, "Connection refused")

    async def disconnect(self, nowait: bool = False) -> None:
        """Close it."""
        self.abort()

    # -- as a transport ---------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who gets what arrives."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Commands; they arrive a moment later."""
        self._reader.feed(bytes(data))
        while (command := self._reader.gets()) is not False:
            self._commands.append(command)
        if self._working is None and self._commands:
            self._working = asyncio.get_running_loop().create_task(self._work())

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed

    def abort(self) -> None:
        """Close it, at once; a command that was read by the server is done all the same."""
        self._closed = True
        self._server.left(self)

    def cut(self) -> None:
        """The other side closes it."""
        if not self._closed:
            self.abort()
            if self._protocol is not None:
                self._protocol.connection_lost(None)

    async def _work(self) -> None:
        try:
            while self._commands and not self._closed:
                try:
                    reply = await self._server.answer(self, self._commands.popleft())
                except ConnectionResetError:
                    self.cut()
                    return
                if not self._closed and self._protocol is not None:
                    self._protocol.data_received(encoded(reply))
        finally:
            self._working = None
