"""Made-up ends of a pipeline, for measuring it: a source that repeats a sample, and a sink that forgets.

They are put in place of a pipeline's own by `bench`, and cannot be named in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

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
from papyra_flow.records.entries import Record


class SampleSource(SourceConfig):
    """Repeat records until there were `count`."""

    name: ClassVar[str] = "sample"
    because: ClassVar[str] = "the number of the next record moves in the same script as the records"

    sample: list[bytes] = Field(min_length=1, description="The records, as JSON.")
    count: int = Field(ge=0, description="Records in all.")

    def open(self, context: ConnectorContext) -> OpenSource:
        """The source."""
        return _Sample(self)


class _Sample:
    def __init__(self, config: SampleSource) -> None:
        self._config = config
        self._next = 0

    async def start(self, checkpoint: str) -> str:
        """Go on at the next record's number."""
        self._next = int(checkpoint or 0)
        return checkpoint

    async def read(self, count: int) -> Portion:
        """The next records."""
        sample, end = self._config.sample, min(self._next + count, self._config.count)
        items: list[SourceItem] = [sample[number % len(sample)] for number in range(self._next, end)]
        self._next = end
        return Portion(items, str(end), done=end >= self._config.count)

    async def close(self) -> None:
        """Nothing to give back."""


class ForgetfulSink(SinkConfig):
    """Encode records, and write them nowhere."""

    name: ClassVar[str] = "nowhere"
    because: ClassVar[str] = "nothing is kept"
    exclusive: ClassVar[bool] = False

    def open(self, context: ConnectorContext) -> OpenSink:
        """The sink."""
        return _Nowhere()


class _Nowhere:
    async def lock(self) -> None:
        """No writer is fenced off."""

    async def start(self, checkpoint: str) -> str:
        """Nothing is there."""
        return checkpoint

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        """As a sink of JSON lines does."""
        return json_encoded(record, raw)

    async def write(self, chunks: Sequence[tuple[bytes, bytes]], origin: Callable[[bytes], str] = bytes.decode) -> str:
        """Forget them."""
        return ""

    def committed(self) -> None:
        """Nothing follows from it."""

    async def close(self) -> None:
        """Nothing to give back."""
