"""From checked trees to functions of a record, and of many at once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions import bounds, times
from papyra_flow.expressions.catalogue import FUNCTIONS, METHODS
from papyra_flow.expressions.check import HEADERS, RECORD, RECORDS, WORK, checked, names_in
from papyra_flow.expressions.loops import Work
from papyra_flow.expressions.overflow import as_condition
from papyra_flow.expressions.parse import silent

Record: TypeAlias = dict[str, Any]
MAX_SHOWN = 400
"""Characters of a reason that are told: it may quote a value of any length."""


def in_one_spelling(text: str) -> str:
    """An expression as all spellings of it would be written, with the values of variables; raises ValueError."""
    return ast.unparse(checked(text))


def _attribute(value: object, name: str) -> object:
    if isinstance(value, dict):
        return value[name]
    if name in times.ATTRIBUTES and isinstance(value, times.ATTRIBUTES[name]):
        return getattr(value, name)
    raise ExpressionError(f"{name!r} was asked of {bounds.shown(value)}, which has no fields")


def _import(name: str, *_: object) -> object:
    """What Python itself imports to format a date."""
    if name != "time":
        raise ImportError(name)
    import time

    return time


_GLOBALS: dict[str, object] = {
    **{name: function.run for name, function in FUNCTIONS.items()},
    **{f"_{name}": function.guarded for name, function in FUNCTIONS.items() if function.guarded},
    **{f"_{name}": method.guarded for name, method in METHODS.items() if method.guarded},
    "__builtins__": {"__import__": _import},
    "_Work": Work,
    "_attribute": _attribute,
    "_finite": bounds.finite,
    "_modulo": bounds.modulo,
    "_numbers": frozenset({int, float}),
    "_plus": bounds.plus,
    "_power": bounds.power,
    "_product": bounds.times,
    "_times": bounds.times,
    "_weighed": bounds.weighed,
}


def _with_products_inline(body: ast.expr) -> ast.expr:
    """The tree with products of fields and constants that need no call where they are numbers: it costs twice as much.

    Not by a visitor: a long product is nested as deeply as it is long.
    """
    root = ast.Expression(body)
    for node in ast.walk(root):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                value[:] = map(_inline, value)
            elif isinstance(value, ast.Call):
                setattr(node, name, _inline(value))
    return root.body


def _inline(node: ast.AST) -> ast.AST:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_times"):
        return node
    left, right = node.args
    fields = [side for side in node.args if not isinstance(side, ast.Constant)]
    if not fields or not all(isinstance(side, ast.Subscript) and isinstance(side.value, ast.Name) for side in fields):
        return node
    numbers = ast.Name("_numbers", ast.Load())
    known: list[ast.expr] = [
        ast.Compare(ast.Attribute(side, "__class__", ast.Load()), [ast.In()], [numbers]) for side in fields
    ]
    otherwise = ast.Call(ast.Name("_product", ast.Load()), [left, right], [])
    return ast.IfExp(ast.BoolOp(ast.And(), known) if len(known) > 1 else known[0],
                     ast.BinOp(left, ast.Mult(), right), otherwise)  # fmt: skip


class Compiled:
    """An expression as two functions: `one` of a record, and `over` of many, which costs no call for each.

    Where it names `headers`, both take pairs of a record and its entry's headers in place of records.
    """

    __slots__ = ("needs_headers", "one", "over")

    def __init__(self, body: ast.expr) -> None:
        body = _with_products_inline(body)
        names = names_in(body)
        if WORK in names:
            counted = ast.Lambda(_parameters(WORK), body)
            body = ast.Call(counted, [ast.Call(ast.Name("_Work", ast.Load()), [], [])], [])
        self.needs_headers = HEADERS in names
        each: ast.expr = ast.Name(RECORD, ast.Store())
        if self.needs_headers:
            each = ast.Tuple([each, ast.Name(HEADERS, ast.Store())], ast.Store())
        over = ast.ListComp(body, [ast.comprehension(each, ast.Name(RECORDS, ast.Load()), [], 0)])
        self.over: Callable[[Sequence[Any]], list[Any]] = _lambda(RECORDS, over)
        self.one: Callable[[Any], Any] = self._first if self.needs_headers else _lambda(RECORD, body)

    def _first(self, pair: Any) -> Any:
        return self.over((pair,))[0]


def _parameters(name: str) -> ast.arguments:
    return ast.arguments([], [ast.arg(name)], None, [], [], None, [])


def _lambda(parameter: str, body: ast.expr) -> Callable[[Any], Any]:
    tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(_parameters(parameter), body)))
    try:
        with silent():
            code = compile(tree, "<expression>", "eval")
    except (SyntaxError, RecursionError, MemoryError, ValueError) as exc:
        raise ValueError(f"not a usable expression: {exc}") from exc
    function: Callable[[Any], Any] = eval(code, _GLOBALS)  # noqa: S307 - of checked syntax only
    return function


def compile_expression(text: str) -> Compiled:
    """From a record to the expression's value; raises ValueError if it is not allowed."""
    return Compiled(checked(text))


def compile_filter(text: str) -> Compiled:
    """From a record to that record where the expression holds, else to None; raises ValueError."""
    return Compiled(ast.IfExp(as_condition(checked(text)), ast.Name(RECORD, ast.Load()), ast.Constant(None)))


def compile_fields(fields: Mapping[str, str], *, keep: bool) -> Compiled:
    """From a record to one of an expression a field, with the other fields if `keep`; raises ValueError."""
    keys: list[ast.expr | None] = [ast.Constant(name) for name in fields]
    values = [checked(text) for text in fields.values()]
    if keep:
        keys.insert(0, None)
        values.insert(0, ast.Name(RECORD, ast.Load()))
    return Compiled(ast.Dict(keys, values))


def compile_choice(choices: Sequence[tuple[int, str | None]], otherwise: int) -> Compiled:
    """From a record to the number of the first choice whose condition holds (None always does); raises ValueError."""
    choice = _number(otherwise)
    for number, condition in reversed(choices):
        one = _number(number)
        choice = one if condition is None else ast.IfExp(as_condition(checked(condition)), one, choice)
    return Compiled(choice)


def _number(number: int) -> ast.expr:
    return ast.Constant(number) if number >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-number))


def explain(text: str) -> Callable[[Exception], Exception]:
    """How an exception of this expression is told to a user."""

    def told(exc: Exception) -> Exception:
        if isinstance(exc, KeyError) and exc.args:
            return ExpressionError(f"the record has no field {bounds.shown(exc.args[0])} (in `{text}`)")
        reason = str(exc) or type(exc).__name__
        if len(reason) > MAX_SHOWN:
            reason = f"{reason[:MAX_SHOWN]}..."
        return ExpressionError(f"{reason} (in `{text}`)")

    return told
