r"""`matches`: regular expressions in linear time, whatever pattern and text are, by RE2.

A pattern is written as for Python's `re`, and means what it means there, with what RE2 does not have left out:
lookaround, backreferences, possessive quantifiers (https://github.com/google/re2/wiki/Syntax). Where RE2 reads the same
characters differently (`\w`, `\d` and `\s` are ASCII there, `$` is not before a last newline) it is rewritten first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import re2

from papyra_flow.errors import ExpressionError

MAX_PATTERN = 4096
MAX_MEMORY = 4 * 1024**2
"""Bytes that a compiled pattern may take, its automata included."""
CACHED = 32

_WORD, _SPACE = r"\p{L}\p{N}_", r"\s\x1c-\x1f\x{85}\p{Z}\v"
_CLASSES = {"w": _WORD, "d": r"\p{Nd}", "s": _SPACE}
_PYTHON_ONLY = {"Z": r"\z"}
_TOKEN = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(\[\^?\]?)|(\])|\{(,\d+\})|(\$)|(.)", re.DOTALL)
_BEYOND_ASCII = re.compile(r"[^\W\x00-\x7f]")
_OPTIONS = re2.Options()
_OPTIONS.max_mem = MAX_MEMORY
_OPTIONS.never_capture = True
_OPTIONS.log_errors = False


class PatternError(ExpressionError, ValueError):
    """A pattern is not a regular expression, or needs what RE2 does not have."""


class _Pattern(NamedTuple):
    search: Callable[[bytes], object]
    boundaries: bool
    """Whether it asks for the beginnings and ends of words, which RE2 knows of ASCII only."""
    plain: bool
    """Whether it takes a letter beyond ASCII for what it takes `_` for."""


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text; raises ExpressionError for one that is not usable."""
    if not isinstance(text, str):
        raise ExpressionError(f"`matches` looks through text, not {type(text).__name__}")
    found, boundaries, plain = compiled(pattern)
    if boundaries and not text.isascii() and _BEYOND_ASCII.search(text):
        if not plain:
            raise ExpressionError(r"`\b` knows only ASCII letters, and both pattern and text have others")
        text = _BEYOND_ASCII.sub("_", text)
    return found(text.encode()) is not None


@lru_cache(CACHED)
def compiled(pattern: str) -> _Pattern:
    """A pattern ready for use; raises PatternError with one sentence."""
    if not isinstance(pattern, str):
        raise PatternError(f"a pattern is text, not {type(pattern).__name__}")
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"the pattern is longer than {MAX_PATTERN:,} characters")
    written, boundaries = _for_re2(pattern)
    try:
        made = re2.compile(written.encode(), _OPTIONS)
    except re2.error as exc:
        raise PatternError(f"the pattern {_shown(pattern)} cannot be used: {_reason(exc)}") from None
    except UnicodeEncodeError:
        raise PatternError("the pattern is not valid Unicode") from None
    return _Pattern(made.search, boundaries, pattern.isascii() and not re.search(r"_|\\[xuU0-7pP]|A-z", pattern))


def _for_re2(pattern: str) -> tuple[str, bool]:
    """The pattern as RE2 has to be told it, and whether it has `\\b` or `\\B`."""
    made: list[str] = []
    inside = boundaries = False
    for match in _TOKEN.finditer(pattern):
        short, long, escaped, opening, closing, upto, end, _ = match.groups()
        if code := short or long:
            made.append(f"\\x{{{code}}}")
        elif escaped is not None:
            made.append(_escape(escaped, inside=inside))
            boundaries |= escaped in "bB" and not inside
        elif opening is not None and not inside:
            inside = True
            made.append(opening)
        elif closing is not None:
            inside = False
            made.append(closing)
        elif upto is not None and not inside:
            made.append("{0" + upto)
        elif end is not None and not inside:
            made.append(r"(?:$|\n\z)")
        elif opening is not None:
            made.append(opening.replace("[", r"\["))  # a bracket in a class is but a bracket in Python
            inside = not opening.endswith("]")
        else:
            made.append(match[0])
    return "".join(made), boundaries


def _escape(letter: str, *, inside: bool) -> str:
    if letter in _CLASSES:
        return _CLASSES[letter] if inside else f"[{_CLASSES[letter]}]"
    if letter.lower() in _CLASSES:
        if letter == "D":
            return r"\P{Nd}"
        if inside:
            raise PatternError(f"`\\{letter}` cannot stand inside [...] here")
        return f"[^{_CLASSES[letter.lower()]}]"
    if inside and letter == "b":
        return r"\x08"
    if letter in "CQE":  # RE2 knows them, Python does not: a byte of a character, quoted text
        raise PatternError(f"`\\{letter}` is not part of a regular expression")
    return _PYTHON_ONLY.get(letter, f"\\{letter}")


def _reason(exc: Exception) -> str:
    said = exc.args[0]
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    kind, _, what = text.partition(": ")
    what = what.strip()
    if kind == "invalid perl operator" and what.startswith(("(?=", "(?!", "(?<")):
        return f"lookaround `{what}` is not supported, because patterns are matched in linear time"
    if kind == "invalid escape sequence" and what[1:].isdigit():
        return f"backreferences like `{what}` are not supported, because patterns are matched in linear time"
    if kind.startswith("pattern too large"):
        return f"it takes more than {MAX_MEMORY // 1024**2} MiB of memory"
    return f"{kind} {what}".strip()


def _shown(pattern: str) -> str:
    return f"{pattern!r:.80}"
