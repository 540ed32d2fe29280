"""Text that held `${VAR}`: what it is filled in, and what it was before, so that a value never becomes a program.

`Template` is what a file's text is after substitution. Everywhere but in expressions it is just that text. An
expression goes back to the text as it was written, in which each reference is a name for its value (`Text`): between
quotes the value's text, elsewhere the number, boolean or null that the text is in JSON, else a string.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_MARK, _PAD = "\ua500", "\ua501"
"""Letters that names in a source stand for references with; they are not written otherwise (Vai syllables)."""
_MARKED = re.compile(f"{_MARK}([0-9]+){_PAD}+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Reference:
    """A `${...}` as it was written, and what it stands for."""

    written: str
    value: str


class Template(str):
    """Text in which references were replaced; `parts` are what it was made of."""

    __slots__ = ("parts",)
    parts: tuple[str | Reference, ...]

    @classmethod
    def of(cls, parts: Sequence[str | Reference]) -> Template:
        """The text of all parts in order."""
        made = cls("".join(part if isinstance(part, str) else part.value for part in parts))
        made.parts = tuple(parts)
        return made

    def is_padded_number(self) -> bool:
        """Whether it looks like a number to YAML, but begins with a zero that a number does not have: a code."""
        return re.fullmatch(r"[-+]?0[0-9_]+", self) is not None

    def as_expression(self) -> Text:
        """The text as it was written, with its values beside it."""
        written = "".join(part if isinstance(part, str) else part.written for part in self.parts)
        return Text(written, self.parts)


class Text(str):
    """An expression's text as the file has it, and the values of the references in it.

    Two are equal if text and values are, so that a changed value is a changed pipeline.
    """

    __slots__ = ("_parts", "source", "values")
    source: str
    """The text with a name in place of each reference, of the same length if possible, so that columns are right."""
    values: tuple[str, ...]

    def __new__(cls, written: str, parts: Sequence[str | Reference] = ()) -> Text:
        """The text; without parts, one without references."""
        made = super().__new__(cls, written)
        references = [part for part in parts if isinstance(part, Reference)]
        if references and _MARK in written:
            raise ValueError(f"the letter {_MARK!r} cannot stand in an expression with ${{...}}")
        names = iter([_name(number, len(reference.written)) for number, reference in enumerate(references)])
        made.source = "".join(part if isinstance(part, str) else next(names) for part in parts) if parts else written
        made.values = tuple(reference.value for reference in references)
        return made

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.values == getattr(other, "values", ())

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def _name(number: int, width: int) -> str:
    return f"{_MARK}{number}{_PAD}".ljust(width, _PAD)


def constant_of(name: str, values: Sequence[str]) -> str | int | float | None:
    """The value that a name in a source stands for; raises KeyError if it stands for none."""
    match = _MARKED.fullmatch(name)
    if match is None:
        raise KeyError(name)
    text = values[int(match[1])]
    if text in _WORDS:
        return _WORDS[text]
    if not is_json_number(text):
        return text
    number: int | float = json.loads(text)
    return number


def filled(text: str, values: Sequence[str]) -> str:
    """A string literal of a source with its values in it."""
    return _MARKED.sub(lambda match: values[int(match[1])], text) if values else text


def as_written(source: str, text: str) -> str:
    """A piece of an expression's source as the file has it: with `${...}` in place of names."""
    if _MARK not in source:
        return source
    written = re.findall(r"\$\{[^{}]*\}", text)
    return _MARKED.sub(lambda match: written[int(match[1])] if int(match[1]) < len(written) else "${...}", source)


def is_json_number(text: str) -> bool:
    """Whether a text is a number as JSON writes it: `007` and `1_000` are text."""
    return len(text) <= 400 and _NUMBER.fullmatch(text) is not None


def fill(tree: ast.AST, values: Sequence[str]) -> ast.AST:
    """A parsed source with its values as constants; raises ValueError where a reference is neither value nor text."""
    return _Filling(values).visit(tree) if values else tree


class _Filling(ast.NodeTransformer):
    def __init__(self, values: Sequence[str]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        try:
            value = constant_of(node.id, self._values)
        except KeyError:
            self._refuse(node.id)
            return node
        if not isinstance(node.ctx, ast.Load):
            self._refuse(node.id)
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            return ast.copy_location(ast.UnaryOp(ast.USub(), ast.Constant(-value)), node)
        return ast.copy_location(ast.Constant(value), node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and _MARK in node.value:
            return ast.copy_location(ast.Constant(filled(node.value, self._values)), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self._refuse(node.attr)
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self._refuse(node.arg or "")
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name):
            self._refuse(node.func.id)
        return self.generic_visit(node)

    def _refuse(self, name: str) -> None:
        if _MARK in name:
            raise ValueError(
                "${...} stands for a value in an expression, not for a name: use record[${...}] for a field"
            )
