"""The server: commands as they arrive, reads that block, and the faults that a test has ordered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from papyra_flow.streams.connection.client import Argument, Client
from papyra_flow.streams.connection.server import Server
from tests.harness.memory.commands import StreamCommands
from tests.harness.memory.connection import MemoryConnection
from tests.harness.memory.keys import Hash, Value
from tests.harness.memory.replies import Refused, Reply, Status
from tests.harness.memory.scripts import Scripts
from tests.harness.memory.streams import Stream

STARTED = 1_700_000_000.0
"""Seconds since 1970 by the server's clock, when the loop's says 0."""


@dataclass(slots=True)
class Fault:
    """What happens to the next commands of a name; a script counts by its own name."""

    name: str
    how: Literal["lose reply", "lose command", "refuse", "hold"]
    times: int = 1
    text: str = ""
    about: bytes = b""
    """Only for those that have this argument."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has happened."""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let what is held go on."""
        self.released.set()


@dataclass(slots=True)
class Blocked:
    """A read that waits for an entry; `read` is what it would get now."""

    connection: MemoryConnection
    read: Callable[[], list[Reply]]
    answer: asyncio.Future[Reply]
    timer: asyncio.TimerHandle


class MemoryServer:
    """A server with nothing in it; its clock is the event loop's, and `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.away = False
        """Whether it takes no new connections."""
        self.arrived: Counter[str] = Counter()
        """Commands so far, by their names; a script by its own."""
        self._commands = StreamCommands(self.now)
        self._scripts = Scripts(self.execute)
        self._faults: list[Fault] = []
        self._blocked: list[Blocked] = []
        self._connections: dict[int, MemoryConnection] = {}
        self._made = 0

    def now(self) -> int:
        """Milliseconds since 1970 by its clock."""
        return round((STARTED + asyncio.get_running_loop().time() + self.ahead) * 1000)

    # -- what a client sees -----------------------------------------------------------------------------------

    def connect(self) -> Server:
        """This server, as the runtime knows one."""
        return Server("redis://memory.invalid", pool=self)

    def client(self) -> Client:
        """A connection of one's own."""
        return Client(self)

    def make_connection(self) -> MemoryConnection:
        """As redis-py's pools."""
        self._made += 1
        made = MemoryConnection(self, self._made)
        self._connections[self._made] = made
        return made

    async def disconnect(self) -> None:
        """As redis-py's pools, which have nothing left to close."""

    # -- what a test does -------------------------------------------------------------------------------------

    def do(self, *arguments: Argument) -> Reply:
        """A command of somebody else's, done at once; raises Refused."""
        return self.do_all([arguments])[0]

    def do_all(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        """Commands of somebody else's, as one (MULTI): no read that waits sees them in part."""
        replies = [self.execute([_text(argument) for argument in command]) for command in commands]
        self._serve()
        return replies

    def deliver(self, key: str, group: bytes, consumer: str, count: int) -> None:
        """Somebody else reads new entries."""
        self._commands.read_new(group, consumer.encode(), [key.encode()], count)

    def stream(self, key: str) -> Stream:
        """A stream's insides; an empty one if it is not there."""
        return self._commands.find(Stream, key.encode()) or Stream()

    def hash_of(self, key: bytes) -> dict[bytes, bytes]:
        """What a hash holds; empty if it is not there."""
        return dict(self._commands.find(Hash, key) or {})

    def copy(self) -> dict[bytes, Value]:
        """All that it holds now, as a replica may have it."""
        return deepcopy(self._commands.keys)

    def become(self, copy: dict[bytes, Value]) -> None:
        """Fail over to a replica that had that: all connections break."""
        self._commands.keys.clear()
        self._commands.keys.update(deepcopy(copy))
        self.cut_connections()

    def lose_reply(self, name: str, times: int = 1) -> Fault:
        """The next such command is done, and the connection breaks before its reply."""
        return self._order(Fault(name, "lose reply", times))

    def lose_command(self, name: str, times: int = 1) -> Fault:
        """The connection breaks before the next such command is done."""
        return self._order(Fault(name, "lose command", times))

    def refuse(self, name: str, text: str, times: int = 1, about: str = "") -> Fault:
        """The next such command gets this error; `about` is an argument that it has."""
        return self._order(Fault(name, "refuse", times, text, about.encode()))

    def hold(self, name: str) -> Fault:
        """The next such command is not done until it is released; other connections go on."""
        return self._order(Fault(name, "hold"))

    def forget_all(self) -> None:
        """FLUSHALL: blocked reads are told so."""
        self._commands.keys.clear()
        self._serve()

    def cut_connections(self) -> None:
        """All connections break."""
        for connection in list(self._connections.values()):
            connection.cut()

    def cut_reads(self) -> None:
        """The connections break on which a read waits, which the server has not noticed: what comes is lost on them."""
        for blocked in self._blocked:
            blocked.connection.cut()

    def _order(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    # -- commands ---------------------------------------------------------------------------------------------

    async def answer(self, connection: MemoryConnection, command: list[bytes]) -> Reply:
        """A command's reply, once there is one; raises ConnectionResetError where the connection is to break."""
        name = self._name(command)
        self.arrived[name] += 1
        fault = next((f for f in self._faults if f.name == name and (not f.about or f.about in command)), None)
        if fault is not None:
            fault.times -= 1
            if not fault.times:
                self._faults.remove(fault)
            fault.arrived.set()
            if fault.how == "lose command":
                raise ConnectionResetError
            if fault.how == "refuse":
                return Refused(fault.text)
            if fault.how == "hold":
                await fault.released.wait()
        try:
            reply = await self._done(connection, command)
        except Refused as exc:
            reply = exc
        self._serve()
        if fault is not None and fault.how == "lose reply":
            raise ConnectionResetError
        return reply

    async def _done(self, connection: MemoryConnection, command: list[bytes]) -> Reply:
        match [command[0].upper(), *command[1:]]:
            case [b"XREADGROUP", b"GROUP", group, consumer, b"COUNT", count, b"BLOCK", wait, b"STREAMS", *rest]:
                keys = rest[: len(rest) // 2]
                read = partial(self._commands.read_new, group, consumer, keys, int(count))
                return read() or await self._wait(connection, read, int(wait) / 1000)
            case [b"XREAD", b"COUNT", count, b"BLOCK", wait, b"STREAMS", *rest]:
                keys, positions = rest[: len(rest) // 2], rest[len(rest) // 2 :]
                read = partial(self._commands.read_behind, keys, positions, int(count))
                return read() or await self._wait(connection, read, int(wait) / 1000)
            case [b"CLIENT", b"ID"]:
                return connection.number
            case [b"CLIENT", b"UNBLOCK", number]:
                return self._unblock(int(number))
            case _:
                return self.execute(command)

    def execute(self, command: Sequence[bytes]) -> Reply:
        """Do a command that does not block; raises Refused."""
        name, *arguments = command
        match name.upper():
            case b"EVAL" | b"EVALSHA" as how:
                script, number, *rest = arguments
                keys, values = rest[: int(number)], rest[int(number) :]
                run = self._scripts.run if how == b"EVAL" else self._scripts.run_known
                return run(script, keys, values)
            case b"INFO":
                return b"# Server\r\nredis_version:7.4.0\r\nredis_mode:standalone\r\n"
            case b"PING":
                return Status(b"PONG")
        method = getattr(self._commands, f"do_{name.decode().lower()}", None)
        if method is None:
            raise Refused(f"ERR unknown command '{name.decode()}' of the server in memory")
        reply: Reply = method(*arguments)
        return reply

    def _name(self, command: list[bytes]) -> str:
        name = command[0].decode().upper()
        if name == "EVALSHA":
            return self._scripts.names.get(command[1], name)
        return name

    # -- reads that block -------------------------------------------------------------------------------------

    async def _wait(self, connection: MemoryConnection, read: Callable[[], list[Reply]], seconds: float) -> Reply:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        timer = loop.call_later(seconds, _give_up, answer)
        blocked = Blocked(connection, read, answer, timer)
        self._blocked.append(blocked)
        try:
            return await answer
        finally:
            timer.cancel()
            self._blocked.remove(blocked)

    def _serve(self) -> None:
        """Give blocked reads what there is by now, the longest waiting first."""
        for blocked in self._blocked:
            if blocked.answer.done():
                continue
            try:
                found = blocked.read()
            except Refused as exc:
                blocked.answer.set_result(exc)
            else:
                if found:
                    blocked.answer.set_result(found)

    def _unblock(self, number: int) -> int:
        for blocked in self._blocked:
            if blocked.connection.number == number and not blocked.answer.done():
                blocked.answer.set_result(None)
                return 1
        return 0

    def left(self, connection: MemoryConnection) -> None:
        """A connection is gone."""
        self._connections.pop(connection.number, None)


def _give_up(answer: asyncio.Future[Reply]) -> None:
    if not answer.done():
        answer.set_result(None)


def _text(argument: Argument) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
