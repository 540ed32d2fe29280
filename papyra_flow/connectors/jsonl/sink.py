"""`jsonl` as a sink: writing JSON lines (https://jsonlines.org), one object a line."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from papyra_flow.connectors.base import ConnectorContext, Encode, OpenSink, SinkConfig
from papyra_flow.connectors.files.sink import FileSink
from papyra_flow.records.entries import Record, encode_json


def json_line(record: Record, raw: bytes | None) -> bytes:
    """A record as a line; one that is unchanged and on one line already is not encoded again."""
    return (raw if raw is not None and b"\n" not in raw and b"\r" not in raw else encode_json(record)) + b"\n"


class JsonlSink(SinkConfig):
    """Write records as JSON lines."""

    name: ClassVar[str] = "jsonl"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the file is cut back to its checkpoint, which moves with the acks"

    path: str = Field(min_length=1, description="The file; `.gz` is compressed.")
    fsync: bool = Field(True, description="Flush each batch to disk (fsync) before acknowledging it.")
    overwrite: bool = Field(False, description="Empty the file when the stage has no checkpoint yet.")

    def files(self) -> tuple[str, ...]:
        """The file."""
        return (self.path,)

    def open(self, context: ConnectorContext) -> OpenSink:
        """The sink."""
        return FileSink(context, self.path, json_line, fsync=self.fsync, overwrite=self.overwrite)

    def encoder(self, context: ConnectorContext) -> Encode:
        """Lines."""
        return json_line
