"""`jsonl` as a source: reading JSON lines (https://jsonlines.org), one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import orjson

from papyra_flow.connectors.base import BadRecord, ConnectorContext, Source, SourceItem
from papyra_flow.connectors.file_source import FileSource, FileSourceConfig
from papyra_flow.connectors.lines import Lines


def json_item(line: bytes, origin: str, number: int) -> SourceItem:
    """A line as an item: its bytes if they are a JSON object, else what is wrong with them."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return BadRecord(line, f"the line is not JSON: {exc}", origin, str(number))
    if not isinstance(value, dict):
        return BadRecord(line, f"the line is a JSON {type(value).__name__}, not an object", origin, str(number))
    return line


class JsonlSource(FileSourceConfig):
    """Read files of JSON lines: one record a line."""

    name: ClassVar[str] = "jsonl"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    def open(self, context: ConnectorContext) -> Source:
        """The source."""

        def items(lines: Lines, _resumed: bool) -> Iterator[SourceItem]:
            lines.begin()
            for line in lines:
                if text := line.removeprefix(b"\xef\xbb\xbf").strip():
                    yield json_item(text, lines.name, lines.number)
                lines.begin()

        return FileSource(self.path, context.folder, items, follow=self.follow)
