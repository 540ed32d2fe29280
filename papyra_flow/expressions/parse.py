"""From an expression's text to its tree, over one line or many.

A text that is not an expression as it stands, but has more than one line, is read as if in brackets: `|` is how YAML
writes long text. What does not live here: what may stand in the tree (`check`).
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings

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
        except SyntaxError:
            if "\n" not in source:
                raise
            source, above = _in_brackets(source), above - 1
            tree = _parsed(source)
        body = fill(tree.body, text.values)
    except SyntaxError as exc:
        raise _told(exc, above, text) from exc
    except (RecursionError, MemoryError) as exc:
        raise ValueError("the expression is nested too deeply") from exc
    if not isinstance(body, ast.expr) or isinstance(body, ast.GeneratorExp):
        raise ValueError("the expression is a generator, which is not a value: use [...] around it")
    return body, source


def _parsed(source: str) -> ast.Expression:
    with warnings.catch_warnings():  # Python's opinion on '\d' and the like would go to the user's terminal
        warnings.simplefilter("ignore")
        return ast.parse(source, mode="eval")


def _in_brackets(source: str) -> str:
    """The source as one expression over many lines; raises SyntaxError if it closes a bracket that it did not open."""
    bracketed = f"(\n{source}\n)"
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
    return bracketed


def _lines_above(source: str) -> int:
    return source[: len(source) - len(source.lstrip())].count("\n")


def _told(exc: SyntaxError, above: int, text: Text) -> ValueError:
    line, column = (exc.lineno or 1) + above, exc.offset or 1
    place = f"line {line}, character {column}" if "\n" in text.strip() else f"character {column}"
    message = as_written(exc.msg, text).replace("'(' was never closed on line 1", "a bracket was never closed")
    return NotAnExpressionError(f"not a Python expression: {message} at {place}", line, column)
