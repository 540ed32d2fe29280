"""What a source and a sink are to the runtime, and what their declared models have to offer.

A source hands out portions of records, each with the checkpoint after it; the runtime commits both in one
script. A sink makes chunks durable and says the checkpoint after them; the runtime commits that with the acks.
Neither speaks to the pipeline's own server.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import Field

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.expressions.fields import Expression
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import DATA, Record, encode_json
from papyra_flow.spec import defaults
from papyra_flow.spec.components import Component, SetupContext

Promise: TypeAlias = Literal["exactly-once", "at-least-once", "at-most-once"]


Encode: TypeAlias = Callable[[Record, bytes | None], bytes]
"""A record as a sink writes it; the bytes are its JSON where it is unchanged. Raises RecordError."""


async def _unfenced() -> None:
    """Nothing keeps others out."""


async def _unkept(_checkpoint: str) -> None:
    """Kept nowhere."""


def _ignored(_records: int) -> None:
    """Not counted."""


@dataclass(frozen=True, slots=True)
class ConnectorContext(SetupContext):
    """Where a connector is used, and what the runtime does for it.

    `max_record` is how many bytes a record may have: a source need not keep more of one than that.
    """

    max_record: int = defaults.MAX_RECORD
    fence: Callable[[], Awaitable[None]] = _unfenced
    """For a sink that waited for something: raises FencedError if another process owns it by now."""
    keep: Callable[[str], Awaitable[None]] = _unkept
    """For a sink that begins another file between two batches: keeps its checkpoint there; raises FencedError."""
    lost: Callable[[int], None] = _ignored
    """For a sink that finds records gone that it had written and that were committed: how many."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """Input that is not a record: what it was, what is wrong with it, and where it stood. Since 0.2."""

    raw: bytes
    error: str
    origin: str
    place: str

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes):
            raise TypeError(f"BadRecord: `raw` has to be bytes, not {shown(self.raw)}")


SourceItem: TypeAlias = bytes | Sequence[bytes] | BadRecord | Mapping[str, object] | Emit
"""A record, one with headers, one as JSON already, an entry's flat fields as they are, or what is not a record."""


def fields_of(item: SourceItem) -> Sequence[bytes]:
    """An item as an entry's flat fields; raises RecordError for what cannot be one."""
    if isinstance(item, bytes):
        return DATA, item
    if isinstance(item, BadRecord):
        return DATA, item.raw
    if isinstance(item, Mapping):
        return DATA, encode_json(item)
    if isinstance(item, Emit):
        item.check()
        if item.to is not None:
            raise RecordError("Emit: a source's records go where the stage says, so that `to` has no meaning here")
        if not isinstance(item.record, Mapping):
            raise RecordError("Emit: a source's record must be a dict")
        headers = (part for pair in (item.all_headers() or {}).items() for part in pair)
        return DATA, encode_json(item.record), *headers
    if not isinstance(item, list | tuple):
        raise RecordError(f"{shown(item)} is not a dict, an Emit or a BadRecord")
    return item


@dataclass(slots=True)
class Portion:
    """What a source read: records, the checkpoint after them, whether it has ended, and which parts moved. Since 0.2.

    `parts` are the new states of those parts of the source (the files of a glob) that moved; '' for one to forget.
    """

    items: list[SourceItem]
    checkpoint: str
    done: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)


class OpenSource(Protocol):
    """An opened source; one owner reads it, in order."""

    async def start(self, checkpoint: str) -> str:
        """Go to a checkpoint, '' for the beginning; returns where that is, to be kept before anything is read.

        Raises ConnectorError if there is nothing to read.
        """

    async def read(self, count: int) -> Portion:
        """Up to `count` items; waits until there is one, or the source has ended. Raises ConnectorError."""

    async def close(self) -> None:
        """Give back files and connections."""


@runtime_checkable
class AcknowledgedSource(Protocol):
    """A source that wants to hear which checkpoint is committed, such as a queue that forgets what it delivered."""

    async def committed(self, checkpoint: str) -> None:
        """All up to there is in the pipeline's streams; `start` says the same after a crash."""


@runtime_checkable
class SourceOfParts(Protocol):
    """A source of many parts, each with a state of its own that is kept beside the checkpoint."""

    def restore(self, parts: Mapping[str, str]) -> None:
        """Be told the states of all parts by their names; called before `start`."""


class OpenSink(Protocol):
    """An opened sink: it is locked, started, and then written to."""

    async def lock(self) -> None:
        """Keep out a process that was fenced off but may still write; waits for it, and changes nothing yet."""

    async def start(self, checkpoint: str) -> str:
        """Go back to a checkpoint, so that nothing is there that was not committed; '' where there is none yet.

        Returns the checkpoint to start from, which is kept before anything is written: what the very first
        write leaves behind could not be told from what was there before, otherwise. Raises ConnectorError.
        """

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        """A record as the sink writes it; `raw` is its JSON where it is unchanged. Raises RecordError."""

    async def write(self, chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str] = bytes.decode) -> str:
        """Make encoded records durable, each with its entry's id; returns the checkpoint after them.

        `origin` says for an id in which stream the entry was first and under which id, which a replay does not change.
        A write that is repeated, because this one raised or was not committed, takes back what was left of it, or its
        records are told from others by their origin. Raises ConnectorErrors, each kind with its own consequence.
        """

    def committed(self) -> None:
        """What was written last is committed; without this call the next write takes it back, where it can."""

    async def close(self) -> None:
        """Give back files and connections."""


class SourceConfig(Component):
    """Base of every source's model."""

    kind: ClassVar[str] = "source"
    promise: ClassVar[Promise] = "exactly-once"
    because: ClassVar[str]
    """Why the promise holds, as `plan` says it."""

    time: Expression | None = Field(
        None, description="When a record happened: a field or an expression, for stages that go by event time."
    )

    @property
    def bounded(self) -> bool:
        """Whether the source ends by itself."""
        return True

    def ending(self) -> SourceConfig | None:
        """The source as `--drain` runs it: it ends at what is there; None if it cannot."""
        return self if self.bounded else None

    @abstractmethod
    def open(self, context: ConnectorContext) -> OpenSource:
        """The source, not yet started."""


class SinkConfig(Component):
    """Base of every sink's model."""

    kind: ClassVar[str] = "sink"
    promise: ClassVar[Promise] = "exactly-once"
    because: ClassVar[str]
    exclusive: ClassVar[bool] = True
    """Whether only one consumer may write: what it wrote is then committed with its acks, all or nothing."""

    def stream_key(self) -> str | None:
        """The key of a stream on the pipeline's own server, where adding records to it is all that the sink does.

        Such a sink need not be opened: the commit forwards to the stream.
        """
        return None

    @abstractmethod
    def open(self, context: ConnectorContext) -> OpenSink:
        """The sink, not yet started."""

    def encoder(self, context: ConnectorContext) -> Encode:
        """How the sink encodes records, with nothing opened and nothing looked at: for tests of a pipeline.

        JSON, unless the sink says something else.
        """
        return json_encoded


def json_encoded(record: Record, raw: bytes | None) -> bytes:
    """A record as JSON; one that is unchanged is not encoded again."""
    return raw if raw is not None else encode_json(record)
