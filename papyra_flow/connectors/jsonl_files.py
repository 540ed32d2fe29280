"""`jsonl`: reading and writing JSON lines (https://jsonlines.org), one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import orjson
from pydantic import Field

from papyra_flow.connectors.base import (
    BadRecord,
    ConnectorContext,
    Sink,
    SinkConfig,
    Source,
    SourceConfig,
    SourceItem,
)
from papyra_flow.connectors.files import FileSink, FileSource, Lines
from papyra_flow.streams.entries import Record, encode_json


def json_item(line: bytes, origin: str, number: int) -> SourceItem:
    """A line as an item: its bytes if they are a JSON object, else what is wrong with them."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return BadRecord(line, f"the line is not JSON: {exc}", origin, str(number))
    if not isinstance(value, dict):
        return BadRecord(line, f"the line is a JSON {type(value).__name__}, not an object", origin, str(number))
    return line


def json_line(record: Record, raw: bytes | None) -> bytes:
    """A record as a line; one that is unchanged and on one line already is not encoded again."""
    return (raw if raw is not None and b"\n" not in raw else encode_json(record)) + b"\n"


class JsonlSource(SourceConfig):
    """Read files of JSON lines: one record a line."""

    name: ClassVar[str] = "jsonl"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    path: str = Field(min_length=1, description="The file, or a glob of files; `.gz` is decompressed.")

    def open(self, context: ConnectorContext) -> Source:
        """The source."""

        def items(lines: Lines, _resumed: bool) -> Iterator[SourceItem]:
            for line in lines:
                if text := line.removeprefix(b"\xef\xbb\xbf").strip():
                    yield json_item(text, lines.name, lines.number)

        return FileSource(self.path, context.folder, items)


class JsonlSink(SinkConfig):
    """Write records as JSON lines."""

    name: ClassVar[str] = "jsonl"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the file is cut back to its checkpoint, which moves with the acks"

    path: str = Field(min_length=1, description="The file; `.gz` is compressed.")
    fsync: bool = Field(True, description="Wait until the disk has a batch before it is acknowledged.")
    overwrite: bool = Field(False, description="Empty the file when the stage has no checkpoint yet.")

    def open(self, context: ConnectorContext) -> Sink:
        """The sink."""
        return FileSink(context.folder / self.path, json_line, fsync=self.fsync, overwrite=self.overwrite)
