"""`jsonl` as a source: reading JSON lines (https://jsonlines.org), one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import orjson
from pydantic import Field

from papyra_flow.connectors.base import BadRecord, ConnectorContext, Source
from papyra_flow.connectors.file_source import FileSource, FileSourceConfig
from papyra_flow.connectors.line_splitter import LongLine
from papyra_flow.connectors.lines import Lines, LongLineError
from papyra_flow.connectors.text_form import ENCODING, UTF8_MARK, Encoding, TextForm, told


def json_item(line: bytes, form: TextForm, origin: str, number: int) -> bytes | BadRecord | None:
    """A line as an item: JSON of an object, or what is wrong with it; None for a blank line."""
    if form.codec == "utf-8":
        text = line.removeprefix(UTF8_MARK).strip()
    else:
        try:
            text = form.decode(line).encode().strip()
        except UnicodeError as exc:
            return BadRecord(line, f"the line is not {form.codec}: {told(exc)}", origin, str(number))
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        return BadRecord(text, f"the line is not {_not_json(text, exc)}{_hint(text)}", origin, str(number))
    if isinstance(value, dict):
        return text
    kind = "array" if isinstance(value, list) else type(value).__name__
    return BadRecord(text, f"the line is a JSON {kind}, not an object{_hint(text)}", origin, str(number))


def long_line(line: LongLine, form: TextForm, most: int, origin: str, number: int) -> BadRecord:
    """A line that is too long, as an item."""
    return BadRecord(form.as_utf8(line.head), line.told(most), origin, str(number))


def _not_json(text: bytes, exc: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as undecodable:
        return f"utf-8: {told(undecodable)}"
    return f"JSON: {exc}"


def _hint(text: bytes) -> str:
    """What a line says of its file, if that is JSON, but not JSON lines."""
    if text.startswith(b"[") or text in {b"]", b"},"} or (text.startswith(b"{") and text.endswith(b"},")):
        return "; if the file is one JSON array, write one object a line: jq -c '.[]'"
    if text in {b"{", b"}"}:
        return "; if the objects are spread over lines, write one a line: jq -c ."
    return ""


class JsonlSource(FileSourceConfig):
    """Read files of JSON lines: one record a line.

    A line that is not one JSON object is dead: NaN and Infinity are not JSON. Of a name that an object has twice, the
    last value counts.
    """

    name: ClassVar[str] = "jsonl"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    encoding: Encoding = Field("utf-8", description=ENCODING)

    def open(self, context: ConnectorContext) -> Source:
        """The source."""
        parser = JsonlParser(self.encoding, context.max_record)
        return FileSource(self.path, context.folder, parser.items, parser.read_head, follow=self.follow)


class JsonlParser:
    """Turns a file's lines into items; knows the current file's form."""

    def __init__(self, encoding: str, most: int) -> None:
        self._encoding = encoding
        self._most = most
        self._form = TextForm()

    def read_head(self, lines: Lines) -> None:
        """Read what the file's beginning says of all of it."""
        self._form = lines.read_as(self._encoding, self._most)

    def items(self, lines: Lines, resumed: bool) -> Iterator[bytes | BadRecord]:
        """The file's lines as records."""
        if resumed:
            lines.go_on_as(self._form, self._most)
        else:
            self.read_head(lines)
        form, name = self._form, lines.name
        while True:
            lines.begin()
            try:
                item = json_item(next(lines), form, name, lines.number)
            except StopIteration:
                return
            except LongLineError as exc:
                item = long_line(exc.line, form, self._most, name, lines.number)
            if item is not None:
                yield item
