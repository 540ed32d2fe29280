"""`jsonl` as a source: reading JSON lines (https://jsonlines.org), one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from papyra_flow.connectors.base import BadRecord, ConnectorContext, OpenSource
from papyra_flow.connectors.files.line_splitter import LongLine
from papyra_flow.connectors.files.lines import Lines, LongLineError
from papyra_flow.connectors.files.source import FileSource, FileSourceConfig
from papyra_flow.connectors.files.text_form import ENCODING, UTF8_MARK, Encoding, TextForm, told
from papyra_flow.errors import UndecodableError
from papyra_flow.records.json_codec import read_json


class BadLineError(Exception):
    """A line is not a JSON object; `raw` is the line, in UTF-8 if it is text. Never seen by users."""

    def __init__(self, raw: bytes, error: str) -> None:
        super().__init__(error)
        self.raw = raw


def json_text(line: bytes, form: TextForm) -> bytes:
    """The JSON object of a line, nothing for a blank one; raises BadLineError."""
    if form.codec == "utf-8":
        text = line.removeprefix(UTF8_MARK).strip()
    else:
        try:
            text = form.decode(line).encode().strip()
        except UnicodeError as exc:
            raise BadLineError(line, f"the line is not {form.codec}: {told(exc)}") from None
    try:
        value = read_json(text)  # as stages read it: one place decides what is JSON, and what of it is a number
    except UndecodableError as exc:
        if not text:
            return text
        raise BadLineError(text, f"the line is not {_not_json(text, exc)}{_hint(text)}") from None
    if type(value) is not dict:
        kind = "array" if isinstance(value, list) else type(value).__name__
        raise BadLineError(text, f"the line is a JSON {kind}, not an object{_hint(text)}")
    return text


def long_line(line: LongLine, form: TextForm, most: int, origin: str, number: int) -> BadRecord:
    """A line that is too long, as an item."""
    return BadRecord(form.as_utf8(line.head), line.told(most), origin, str(number))


def _not_json(text: bytes, exc: UndecodableError) -> str:
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

    A line that is not one JSON object becomes a dead letter: NaN and Infinity are not JSON. If an object has a name
    twice, the last value counts.
    """

    name: ClassVar[str] = "jsonl"
    main: ClassVar[str] = "path"
    because: ClassVar[str] = "the byte offset moves in the same script as the records"

    encoding: Encoding = Field("utf-8", description=ENCODING)

    def open(self, context: ConnectorContext) -> OpenSource:
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
                if text := json_text(next(lines), form):
                    yield text
            except StopIteration:
                return
            except BadLineError as exc:
                yield BadRecord(exc.raw, str(exc), name, str(lines.number))
            except LongLineError as exc:
                yield long_line(exc.line, form, self._most, name, lines.number)
