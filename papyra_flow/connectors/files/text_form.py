"""How a file's bytes are text: its encoding, its byte order mark, and what ends its lines.

All of it is known from the file's beginning, so that reading on in the middle splits and decodes the same lines.
"""

from __future__ import annotations

import codecs
import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

LONGEST_HEAD = 1024**2
"""Bytes among which the first line end is looked for; a file without one there has lines that end with \\n."""
UTF8_MARK = codecs.BOM_UTF8
_MARK = "\ufeff"
_PROBE = "aZ09 ,;|\t\"':\r\n"
_UTF = ("utf-8", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")  # 32 first: its mark begins with that of 16
_CHOICES = {
    "utf-8": _UTF,
    "utf-8-sig": _UTF,
    "utf-16": ("utf-16-le", "utf-16-be"),
    "utf-32": ("utf-32-le", "utf-32-be"),
}
"""What a file may be in, if it has the byte order mark of it; the first, if it has none."""


class TextForm:
    """An encoding, the length of the byte order mark before the text, and whether a \\r alone ends a line."""

    def __init__(self, codec: str = "utf-8", mark: int = 0, *, any_end: bool = False) -> None:
        self.codec = codec
        self.mark = mark
        self._any_end = any_end
        self._newline, self._return = "\n".encode(codec), "\r".encode(codec)
        self._width = len(self._newline)
        self._bytes_will_do = self._newline == b"\n"
        newline, back = re.escape(self._newline), re.escape(self._return)
        self._first = re.compile(b"(?:%b(?:%b)?)|%b" % (back, newline, newline))
        self._ends = self._first if any_end else re.compile(newline)

    def split(self, data: bytes) -> list[bytes]:
        """Lines with their ends; the last one may have none. The data begins a character and ends one."""
        if self._bytes_will_do:
            if self._any_end or b"\r" not in data:
                return data.splitlines(keepends=True)
            *lines, rest = data.split(b"\n")
            return [line + b"\n" for line in lines] + ([rest] if rest else [])
        lines, begin = [], 0
        while found := self._search(self._ends, data, begin):
            lines.append(data[begin : found.end()])
            begin = found.end()
        return [*lines, data[begin:]] if begin < len(data) else lines

    def held_back(self, data: bytes) -> int:
        """How many bytes at the end cannot be told without what follows: a part of a character, of a line end."""
        part = len(data) % self._width
        ends_with_return = self._any_end and data[: len(data) - part].endswith(self._return)
        return part + (self._width if ends_with_return else 0)

    def is_ended(self, line: bytes) -> bool:
        """Whether a line has its end."""
        return line.endswith(self._newline) or (self._any_end and line.endswith(self._return))

    def content(self, line: bytes) -> bytes:
        """A line without its end."""
        return line.removesuffix(self._newline).removesuffix(self._return)

    def decode(self, data: bytes) -> str:
        """The text; raises UnicodeError."""
        return data.decode(self.codec)

    def as_utf8(self, data: bytes) -> bytes:
        """Bytes of the file to be shown in UTF-8, and as they are where they are not text."""
        try:
            return data if self.codec == "utf-8" else data.decode(self.codec).encode()
        except UnicodeError:
            return data

    def first_end(self, head: bytes, quote: str | None) -> re.Match[bytes] | None:
        """The first line end of any kind behind the byte order mark, and not within quotes."""
        begin, quotes = self.mark, 0
        while found := self._search(self._first, head, begin):
            quotes += 0 if quote is None else head[begin : found.start()].decode(self.codec, "replace").count(quote)
            if not quotes % 2:
                break
            begin = found.end()
        return found

    def is_return(self, end: re.Match[bytes]) -> bool:
        """Whether a line end is a \\r alone."""
        return end[0] == self._return

    def _search(self, pattern: re.Pattern[bytes], data: bytes, begin: int) -> re.Match[bytes] | None:
        at = begin
        while (found := pattern.search(data, at)) and (found.start() - begin) % self._width:
            at = found.start() + 1  # two halves of characters that are not line ends
        return found


def detect(head: bytes, encoding: str, quote: str | None = None, *, whole: bool) -> TextForm | None:
    """The form of a text from its beginning; None if more of that has to be seen."""
    if len(head) < 4 and not whole:
        return None
    codec, mark = _marked(head, encoding)
    form = TextForm(codec, mark)
    end = form.first_end(head, quote)
    if end is None and not whole and len(head) < LONGEST_HEAD:
        return None
    end = end or form.first_end(head, None)
    if end is None or not form.is_return(end):
        return form
    if end.end() + 4 > len(head) and not whole:
        return None  # a \n may follow
    return TextForm(codec, mark, any_end=True)


def told(exc: UnicodeError) -> str:
    """What is wrong with bytes that are not text, and where."""
    if not isinstance(exc, UnicodeDecodeError):
        return str(exc)
    return f"{exc.reason} at byte {exc.start + 1}: {exc.object[exc.start : exc.start + 8]!r}"


def _marked(head: bytes, encoding: str) -> tuple[str, int]:
    """The codec, without byte order mark, and the length of the mark that is there."""
    name = codecs.lookup(encoding).name
    choices = _CHOICES.get(name, (name,))
    for codec in choices:
        try:
            mark = _MARK.encode(codec)
        except UnicodeError:
            continue
        if head.startswith(mark):
            return codec, len(mark)
    return choices[0], 0


def _checked(encoding: str) -> str:
    """Refuse what Python does not know, and what does not leave lines and columns apart, such as `idna`."""
    try:
        codec, _ = _marked(b"", encoding)
        units = [character.encode(codec) for character in _PROBE]
        whole = b"".join(units)
        readable = whole == _PROBE.encode(codec) and whole.decode(codec, "replace") == _PROBE
    except LookupError:
        raise ValueError(f"unknown text encoding {encoding!r}") from None
    except (UnicodeError, AssertionError):
        readable = False
    if not readable or {len(unit) for unit in units} not in ({1}, {2}, {4}):
        raise ValueError(f"files in the encoding {encoding!r} cannot be read line by line")
    return encoding


Encoding: TypeAlias = Annotated[str, AfterValidator(_checked)]
"""A character encoding that files can be read in, checked where a pipeline is."""
ENCODING = "The character encoding; a byte order mark of UTF-8, UTF-16 or UTF-32 wins over UTF-8."
"""What it is to users, wherever they may say one."""
