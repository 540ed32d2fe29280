"""`stream`: an existing stream, on this or another server, as a source or a sink.

Two servers (or two slots) share no transaction. Reading keeps its cursor next to the records it adds; writing
keeps the ids of its last batch beside the records it adds over there, in one script (`relay.lua`), with a lease
of its own on that server. So both are exactly-once, and may be repeated: a server that goes away while they work is
waited for, as the pipeline's own is. One that is not there when they start ends the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import ClassVar

import orjson
from pydantic import Field

from papyra_flow.connectors.base import (
    ConnectorContext,
    OpenSink,
    OpenSource,
    Portion,
    SinkConfig,
    SourceConfig,
    SourceItem,
    json_encoded,
)
from papyra_flow.errors import (
    ConfigurationError,
    ConnectorError,
    ServerError,
    ServerUnreachableError,
    TransientError,
    TryAgainError,
)
from papyra_flow.records.entries import Record
from papyra_flow.spec.components import RedisKey
from papyra_flow.streams.commit.lease import Lease, Leases
from papyra_flow.streams.connection.addresses import redacted
from papyra_flow.streams.connection.append_only import REWRITE_BELOW
from papyra_flow.streams.connection.client import Argument, Reply
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.reading import entries_of
from papyra_flow.streams.scripts import call_script

BLOCK_MS = 5000


class StreamSource(SourceConfig):
    """Read an existing stream, with all headers, without touching it."""

    name: ClassVar[str] = "stream"
    main: ClassVar[str] = "key"
    because: ClassVar[str] = "the id read last moves in the same script as the records"

    key: str = Field(min_length=1, description="The stream's key.")
    redis: str | None = Field(None, description="Its server, if it is not the pipeline's.")
    start: str = Field(
        "0", pattern=r"^(0|\$|\d+(-\d+)?)$", description="Start after this id; `$` for new entries only."
    )
    follow: bool = Field(
        True, description="Wait for new entries instead of ending at the last one present at the start."
    )

    @property
    def bounded(self) -> bool:
        """Whether it does not follow."""
        return not self.follow

    def redis_keys(self, pipeline: str, stage: str) -> tuple[RedisKey, ...]:
        """The stream."""
        return (RedisKey(self.key, "stream", self.redis),)

    def ending(self) -> StreamSource:
        """To the entries that are there at the start."""
        return self.model_copy(update={"follow": False})

    def open(self, context: ConnectorContext) -> OpenSource:
        """The source."""
        return _Reader(self, Server(self.redis or context.redis, key=self.key))


class _Reader:
    def __init__(self, config: StreamSource, server: Server) -> None:
        self._config = config
        self._server = server
        self._retry_policy = RetryPolicy(f"reading {config.key}")
        self._cursor = config.start
        self._until: str | None = None

    async def start(self, checkpoint: str) -> str:
        """Go on after the id read last; `$` becomes the id that it stands for now, and stays that."""
        self._cursor = checkpoint or self._config.start
        last = await self._last_id()
        if self._cursor == "$":
            self._cursor = last
        if not self._config.follow:
            self._until = last
        return self._cursor

    async def _last_id(self) -> str:
        try:
            reply = await self._ask(
                RetryPolicy("starting", also_unreachable=False), "XREVRANGE", self._config.key, "+", "-", "COUNT", 1
            )
        except TransientError as exc:  # where it never was, its address may be wrong
            raise ConnectorError(str(exc)) from exc
        if isinstance(reply, list) and reply:
            entry = reply[0]
            return entry[0].decode() if isinstance(entry, list) and isinstance(entry[0], bytes) else "0-0"
        return "0-0"

    async def read(self, count: int) -> Portion:
        """New entries; blocks for a while where there are none, and then returns an empty portion."""
        key = self._config.key
        if self._until is not None:
            reply = await self._ask(self._retry_policy, "XRANGE", key, f"({self._cursor}", self._until, "COUNT", count)
            entries = entries_of([[key.encode(), reply]])
            done = len(entries) < count
        else:
            reply = await self._ask(
                self._retry_policy, "XREAD", "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", key, self._cursor
            )
            entries, done = entries_of(reply), False
        items: list[SourceItem] = [entry.fields for entry in entries]
        if entries:
            self._cursor = entries[-1].id.decode()
        return Portion(items, self._cursor, done=done)

    async def _ask(self, retry_policy: RetryPolicy, *command: Argument) -> Reply:
        timeout = BLOCK_MS / 1000 + 15
        try:
            return await retry_policy.keep_trying(lambda: self._server.client.call(*command, timeout=timeout))
        except ServerError as exc:
            raise _told(exc)(f"cannot read the stream {self._config.key}: {exc}") from exc

    async def close(self) -> None:
        """Close the connection."""
        await self._server.close()


def _told(exc: ServerError) -> type[TransientError | ConfigurationError]:
    """What kind of trouble it is for a stage: a server that is away may come back."""
    return TransientError if isinstance(exc, ServerUnreachableError | TryAgainError) else ConfigurationError


class StreamSink(SinkConfig):
    """Write records to an existing stream, on this or another server."""

    name: ClassVar[str] = "stream"
    main: ClassVar[str] = "key"
    because: ClassVar[str] = "the last batch's ids are kept beside the records, and checked in the same script"

    key: str = Field(min_length=1, description="The stream's key.")
    redis: str | None = Field(None, description="Its server, if it is not the pipeline's.")

    def open(self, context: ConnectorContext) -> OpenSink:
        """The sink."""
        server = Server(self.redis or context.redis, key=self.key, rewrite_below=REWRITE_BELOW)
        owner = f"{context.pipeline}:{context.stage}"
        return _Writer(self._keys(owner), server, owner)

    def stream_key(self) -> str | None:
        """The stream, where it is on the pipeline's own server."""
        return self.key if self.redis is None else None

    def redis_keys(self, pipeline: str, stage: str) -> tuple[RedisKey, ...]:
        """The stream, and what is kept beside it."""
        stream, *beside = self._keys(f"{pipeline}:{stage}")
        return (
            RedisKey(stream, "stream", self.redis, writes=True),
            *(RedisKey(key, None, self.redis, writes=True) for key in beside),
        )

    def _keys(self, owner: str) -> list[str]:
        """The keys over there, all in one slot: the stream, the lease, the ids seen, and one that never exists."""
        tagged = re.search(r"\{([^{}]+)\}", self.key)
        lease = f"{{{tagged[1] if tagged else self.key}}}:@relay:{owner}"
        return [self.key, lease, f"{lease}:seen", f"{lease}:@probe"]


class _Writer:
    """Adds records over there, each entry's once; what was acked here is forgotten there by the next batch."""

    def __init__(self, keys: list[str], server: Server, owner: str) -> None:
        self._keys = keys
        self._server = server
        self._leases = Leases(server.client, owner, keys[3])
        self._retry_policy = RetryPolicy(f"writing {keys[0]}")
        self._lease: Lease | None = None
        self._acked: list[str] = []
        self._batch: list[str] = []

    async def lock(self) -> None:
        """Take the lease over there."""
        retry_policy = RetryPolicy("starting", also_unreachable=False)
        try:
            self._lease = await retry_policy.keep_trying(lambda: self._leases.take(self._keys[1]))
        except ServerError as exc:
            raise ConnectorError(f"cannot write to {redacted(self._server.url)}: {exc}") from exc

    async def start(self, checkpoint: str) -> str:
        """The checkpoint names the entries whose acks are known."""
        self._acked = orjson.loads(checkpoint) if checkpoint else []
        return checkpoint

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        """The record as JSON."""
        return json_encoded(record, raw)

    async def write(self, chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str] = bytes.decode) -> str:
        """Add what is not there yet."""
        if self._lease is None:
            raise ConnectorError("the stream sink was not started")
        arguments: list[Argument] = [self._lease.epoch, len(self._acked), *self._acked]
        for entry_id, chunk in chunks:
            arguments += (entry_id, chunk)
        try:
            await self._retry_policy.keep_trying(
                lambda: call_script(self._server.client, "relay", self._keys, arguments)
            )
        except ServerError as exc:
            raise _told(exc)(f"cannot write to {redacted(self._server.url)}: {exc}") from exc
        self._batch = list(dict.fromkeys(entry_id.decode() for entry_id, _ in chunks))
        return orjson.dumps(self._batch).decode()

    def committed(self) -> None:
        """The last batch was acked here: the next one lets it be forgotten there."""
        self._acked = self._batch

    async def close(self) -> None:
        """Close the connection."""
        await self._server.close()
