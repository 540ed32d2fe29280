"""From an expression's text to its tree, over one line or many.

A text that is not an expression as it stands, but has more than one line, is read as if in brackets: `|` is how YAML
writes long text.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from papyra_flow.expressions.template import Text, as_written, fill

MAX_LENGTH = 4096


class NotAnExpressionError(ValueError):
    """An expression cannot be used: one sentence, and the `line` and `column` in its text, both from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def parse(text: str) -> tuple[ast.expr, str]:
    """The tree of an expression, and the source that its positions are in; raises ValueError with one sentence."""
    text = text if isinstance(text, Text) else Text(text)
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
    source, above = text.source.strip(), _lines_above(text.source)
    try:
        try:
            tree = _parsed(source)
        except SyntaxError as exc:
            if "\n" not in source:
                raise
            tree, source = _over_lines(source, exc)
        body = fill(tree.body, text.values)
    except SyntaxError as exc:
        raise _told(exc, above, text) from exc
    except (RecursionError, MemoryError) as exc:
        raise ValueError("the expression is nested too deeply") from exc
    if not isinstance(body, ast.expr) or isinstance(body, ast.GeneratorExp):
        raise ValueError("the expression is a generator, which is not a value: use [...] around it")
    return body, source


def _parsed(source: str) -> ast.Expression:
    with silent():
        return ast.parse(source, mode="eval")


@contextmanager
def silent() -> Iterator[None]:
    """Python's opinion on '\\d' and the like would go to the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _over_lines(source: str, first: SyntaxError) -> tuple[ast.Expression, str]:
    """The tree of a source that is one expression over many lines, and the source with brackets around it.

    Raises SyntaxError, the first one where the brackets are what is wrong.
    """
    bracketed = f"(\n{source}\n)"
    try:
        _refuse_unmatched(bracketed)
        return _parsed(bracketed), bracketed
    except SyntaxError as exc:
        of_brackets = exc.lineno == 1 or "closed" in exc.msg or "does not match" in exc.msg
        told = first if of_brackets else exc
        told.lineno = (told.lineno or 1) - (told is exc)
        raise told from None


def _refuse_unmatched(bracketed: str) -> None:
    """Raise SyntaxError for a bracket that closes the one around it all."""
    depth = 0
    last = bracketed.count("\n") + 1
    try:
        for token in tokenize.generate_tokens(io.StringIO(bracketed).readline):
            if token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
                if depth == 0 and token.start[0] < last:
                    raise SyntaxError(f"unmatched '{token.string}'", ("", token.start[0], token.start[1] + 1, ""))
    except tokenize.TokenError:
        pass  # a bracket or a string is never closed: the parser says which


def _lines_above(source: str) -> int:
    return source[: len(source) - len(source.lstrip())].count("\n")


def _told(exc: SyntaxError, above: int, text: Text) -> ValueError:
    line = (exc.lineno or 1) + above
    column = exc.offset or len(text.strip().splitlines()[-1]) + 1 if text.strip() else 1  # 0 stands for its end
    place = f"line {line}, character {column}" if "\n" in text.strip() else f"character {column}"
    message = as_written(exc.msg, text).replace("'(' was never closed on line 1", "a bracket was never closed")
    return NotAnExpressionError(f"not a Python expression: {message} at {place}", line, column)
