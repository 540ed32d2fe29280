"""`Sink`: the base of a sink of your own, a declared model and how it is written in one class."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from papyra_flow.connectors.base import ConnectorContext, OpenSink, Promise, SinkConfig
from papyra_flow.connectors.calling import done, expected, guarded
from papyra_flow.errors import ConfigurationError, ConnectorError, RecordsError, TransientError
from papyra_flow.records.entries import DATA, Record, decode_json, encode_json
from papyra_flow.spec.components import SetupContext


class Sink(SinkConfig):
    """Base of a sink of your own: its fields are what a file may set, `write` is how it is written. Since 0.2.

    `because` says why its promise holds. Each method may be `async`. What it keeps between calls are attributes that
    begin with `_`; each consumer has a copy of its own. After an error it is torn down and set up again. Only
    `committed` is never `async`.

    A sink that can take back what was not committed sets `exclusive`: it has one writer, `write` returns a checkpoint
    that moves in the same script as the acks, and `resume` goes back to it.
    """

    promise: ClassVar[Promise] = "at-least-once"
    exclusive: ClassVar[bool] = False

    def setup(self, context: SetupContext) -> Awaitable[None] | None:
        """Open what it writes to: a connection, a session."""
        return None

    def resume(self, checkpoint: str) -> Awaitable[str | None] | str | None:
        """Take back what was written after a checkpoint; returns the one to continue from, None for the same."""
        return None

    @abstractmethod
    def write(self, records: Sequence[Record], keys: Sequence[str]) -> Awaitable[str | None] | str | None:
        """Make records durable; returns the checkpoint after them, if it has one.

        `keys` are their idempotency keys: a record that is written again, after a crash or a replay, has the same key.
        """

    def committed(self) -> None:
        """What was written last is acknowledged."""
        return

    def teardown(self) -> Awaitable[None] | None:
        """Close what `setup` opened."""
        return None

    def open(self, context: ConnectorContext) -> OpenSink:
        """A copy of it, at work."""
        return _Opened(self.model_copy(deep=True), context)


class _Opened:
    """A sink at work, as the runtime sees it."""

    def __init__(self, sink: Sink, context: ConnectorContext) -> None:
        self._sink = sink
        self._context = context
        self._set_up = False
        self._checkpoint = self._written = ""

    async def lock(self) -> None:
        return

    async def start(self, checkpoint: str) -> str:
        self._set_up = True
        try:
            with guarded(self._sink, "setup"):
                await done(self._sink.setup(self._context))
            with guarded(self._sink, "resume"):
                found: str | None = await done(self._sink.resume(checkpoint))
            self._refuse_other("resume", found)
        except BaseException:
            await self.close()  # what it has opened so far
            raise
        self._checkpoint = checkpoint if found is None else found
        return self._checkpoint

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        return raw if raw is not None else encode_json(record)

    async def write(self, chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str] = bytes.decode) -> str:
        if not self._set_up:
            await self._again()
        records = [decode_json((DATA, chunk)) for _, chunk in chunks]
        try:
            with guarded(self._sink, "write"):
                written: str | None = await done(self._sink.write(records, _keys(chunks, origin)))
            self._refuse_other("write", written)
            self._written = written or ""
        except RecordsError as exc:
            self._written = exc.checkpoint
            raise
        except ConnectorError:
            await self.close()
            raise
        return self._written

    def _refuse_other(self, method: str, checkpoint: object) -> None:
        """Raise ConfigurationError for what is not a checkpoint; a generator, for one, has done nothing yet."""
        if checkpoint is not None:
            expected(self._sink, method, checkpoint, str, "neither a checkpoint, which is text, nor None")

    async def _again(self) -> None:
        """Set it up again after an error; what was there before is only away."""
        try:
            await self.start(self._checkpoint)
        except ConfigurationError:
            raise
        except ConnectorError as exc:
            raise TransientError(str(exc), retry_after=getattr(exc, "retry_after", None)) from exc

    def committed(self) -> None:
        self._checkpoint = self._written
        with guarded(self._sink, "committed"):
            self._sink.committed()

    async def close(self) -> None:
        if self._set_up:
            self._set_up = False
            with guarded(self._sink, "teardown"):
                await done(self._sink.teardown())


def _keys(chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str]) -> list[str]:
    """A key for each record: its entry's origin, and its place among the records that were made of that."""
    seen: Counter[bytes] = Counter()
    keys: list[str] = []
    for entry_id, _ in chunks:
        keys.append(f"{origin(entry_id)}/{seen[entry_id]}")
        seen[entry_id] += 1
    return keys
