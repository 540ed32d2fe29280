"""What a terminal would act on, made visible: contents of records and errors come from others.

Escape sequences move the cursor, change titles and colours, and answer in the user's name (ECMA-48); bidirectional
controls show a text in another order than it has (https://trojansource.codes). Both are shown as escapes instead.
"""

from __future__ import annotations

import re

_ACTS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f"
"""C0 but tab and newline, C1, marks of direction, separators of lines, lone surrogates, invisible tags."""
_ON_A_PAGE = re.compile(f"[{_ACTS}]")
_IN_A_LINE = re.compile(f"[\t\n{_ACTS}]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def visible(text: str) -> str:
    """A text on one line, with nothing in it that a terminal would act on."""
    return _IN_A_LINE.sub(_escaped, text)


def visible_lines(text: str) -> str:
    """A text that may have lines and tabs, with nothing else in it that a terminal would act on."""
    return _ON_A_PAGE.sub(_escaped, text)


def visible_json(document: bytes) -> bytes:
    r"""A JSON document that means the same, with what a terminal would act on as `\uXXXX`; its lines stay."""
    text = document.decode()
    return document if _ON_A_PAGE.search(text) is None else _ON_A_PAGE.sub(_json_escaped, text).encode()


def _escaped(match: re.Match[str]) -> str:
    found = match[0]
    if found in _SHORT:
        return _SHORT[found]
    code = ord(found)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(match: re.Match[str]) -> str:
    """By RFC 8259, 7: what is beyond 16 bits as a pair of surrogates."""
    pair = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[i]:02x}{pair[i + 1]:02x}" for i in range(0, len(pair), 2))
