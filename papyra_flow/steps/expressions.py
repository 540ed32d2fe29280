"""Expressions: Python expressions over a record's fields, checked when the file is loaded, compiled once.

`arr_delay > 60 and dest in ("SEA", "PDX")`: names are the record's fields, `airport.lat` is the field `lat`
of the field `airport`, `record["a b"]` reaches names that are no identifiers. Allowed are the syntax in
`_Checker` and the functions and methods listed below; everything else (imports, attributes that start with an
underscore, lambdas, assignments) is refused. They become one lambda, or one comprehension over a whole batch, so
that they cost what Python costs.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from papyra_flow.errors import ExpressionError
from papyra_flow.streams.entries import Record

MAX_LENGTH = 4096
RECORD, _RECORDS = "_r", "_rs"

_LIMIT = 1_000_000

Operand: TypeAlias = Any  # an operand of any type, as Python's operators take them


def _get(field: Mapping[str, object], name: str, default: object = None) -> object:
    return field.get(name, default)


def _attribute(value: object, name: str) -> object:
    if isinstance(value, dict):
        return value[name]
    raise ExpressionError(f"{name!r} was asked of {value!r}, which has no fields")


def _power(base: Operand, exponent: Operand) -> Operand:
    if abs(exponent) > 1000 or abs(base) > 1e100:
        raise ExpressionError("the power is too large")
    return base**exponent


def _times(left: Operand, right: Operand) -> Operand:
    if not isinstance(left, int | float) and isinstance(right, int) and len(left) * right > _LIMIT:
        raise ExpressionError("the repetition is too long")
    if not isinstance(right, int | float) and isinstance(left, int) and len(right) * left > _LIMIT:
        raise ExpressionError("the repetition is too long")
    return left * right


def _modulo(left: Operand, right: Operand) -> Operand:
    if isinstance(left, str):
        raise ExpressionError("% formats no text here; use an f-string")
    return left % right


def _coalesce(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


FUNCTIONS: dict[str, Callable[..., object]] = {
    "abs": abs, "all": all, "any": any, "bool": bool, "float": float, "int": int, "len": len, "list": list,
    "max": max, "min": min, "round": round, "set": set, "sorted": sorted, "str": str, "sum": sum, "tuple": tuple,
    "coalesce": _coalesce, "matches": _matches, "date": date.fromisoformat, "datetime": datetime.fromisoformat,
    "get": _get, "has": lambda field, name: name in field,
}  # fmt: skip
METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "get", "isalpha", "isdigit", "isoformat", "items",
    "join", "keys", "lower", "lstrip", "removeprefix", "removesuffix", "replace", "rstrip", "split", "startswith",
    "strip", "timestamp", "title", "upper", "values",
})  # fmt: skip
_OF_RECORD = frozenset({"get", "has"})
_ALLOWED = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Slice, ast.Call,
    ast.keyword, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Invert, ast.BinOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr, ast.BitXor,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn,
    ast.IfExp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.JoinedStr, ast.FormattedValue, ast.ListComp,
    ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension,
)  # fmt: skip
_GUARDED: dict[type[ast.operator], str] = {ast.Pow: "_power", ast.Mult: "_times", ast.Mod: "_modulo"}
_GLOBALS: dict[str, object] = {
    **FUNCTIONS,
    "__builtins__": {},
    "_attribute": _attribute,
    "_power": _power,
    "_times": _times,
    "_modulo": _modulo,
}


class _Checker(ast.NodeTransformer):
    """Refuses what is not allowed and turns names into look-ups in the record."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.local_names: set[str] = set()

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{self._shown(node)} is not allowed in an expression")
        return super().generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id.startswith("_"):
            raise ValueError(f"the name {node.id!r} is not allowed: it starts with an underscore")
        if node.id in self.local_names or isinstance(node.ctx, ast.Store):
            return node
        if node.id == "record":
            return ast.copy_location(ast.Name(RECORD, ast.Load()), node)
        look_up = ast.Subscript(ast.Name(RECORD, ast.Load()), ast.Constant(node.id), ast.Load())
        return ast.fix_missing_locations(ast.copy_location(look_up, node))

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str | int | float | bool | None):
            raise ValueError(f"{self._shown(node)} is not allowed in an expression")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr.startswith("_"):
            raise ValueError(f"the attribute {node.attr!r} is not allowed: it starts with an underscore")
        value = self.visit(node.value)
        call = ast.Call(ast.Name("_attribute", ast.Load()), [value, ast.Constant(node.attr)], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(word.arg, self.visit(word.value)) for word in node.keywords]
        if any(word.arg is None for word in keywords):
            raise ValueError("** is not allowed in an expression")
        if isinstance(function, ast.Attribute):
            if function.attr not in METHODS:
                raise ValueError(f"the method {function.attr!r} is not allowed{_nearest(function.attr, METHODS)}")
            target: ast.expr = ast.Attribute(self.visit(function.value), function.attr, ast.Load())
        elif isinstance(function, ast.Name) and function.id in FUNCTIONS:
            target = function
            if function.id in _OF_RECORD and arguments:
                arguments.insert(0, ast.Name(RECORD, ast.Load()))
        else:
            name = function.id if isinstance(function, ast.Name) else self._shown(function)
            raise ValueError(f"the function {name!r} is not known{_nearest(str(name), FUNCTIONS)}")
        return ast.fix_missing_locations(ast.copy_location(ast.Call(target, arguments, keywords), node))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = self.visit(node.left), self.visit(node.right)
        guard = _GUARDED.get(type(node.op))
        harmless = any(
            isinstance(side, ast.Constant) and isinstance(side.value, int | float) and abs(side.value) <= 10_000
            for side in ((left,) if isinstance(node.op, ast.Mod) else (left, right))
        )
        if guard is None or (harmless and not isinstance(node.op, ast.Pow)):
            if not isinstance(node.op, _ALLOWED):
                raise ValueError(f"{self._shown(node)} is not allowed in an expression")
            return ast.copy_location(ast.BinOp(left, node.op, right), node)
        call = ast.Call(ast.Name(guard, ast.Load()), [left, right], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        if node.format_spec is not None:
            parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
            spec = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
            if any(not isinstance(part, ast.Constant) for part in parts) or re.search(r"\d{4}", spec):
                raise ValueError("a format may be at most 999 wide, and must stand there as it is")
        return self.generic_visit(node)

    def _comprehension(self, node: ast.AST) -> ast.AST:
        generators = getattr(node, "generators", [])
        names = {n.id for g in generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        before = set(self.local_names)
        self.local_names |= names
        try:
            return self.generic_visit(node)
        finally:
            self.local_names = before

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def _shown(self, node: ast.AST) -> str:
        found = ast.get_source_segment(self.source, node) if isinstance(node, ast.expr) else None
        return f"`{found}`" if found else type(node).__name__


def _nearest(name: str, known: object) -> str:
    near = difflib.get_close_matches(name, list(known), 1)  # type: ignore[call-overload]
    return f" (did you mean {near[0]}?)" if near else ""


def checked(text: str) -> ast.expr:
    """The checked tree of an expression; raises ValueError with one sentence."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        checked = _Checker(text.strip()).visit(tree)
    except SyntaxError as exc:
        raise ValueError(f"not a Python expression: {exc.msg} at character {exc.offset or 1}") from exc
    except (RecursionError, MemoryError) as exc:
        raise ValueError("the expression is nested too deeply") from exc
    body: ast.expr = checked.body
    return body


def _lambda(parameter: str, body: ast.expr) -> Callable[[Any], Any]:
    arguments = ast.arguments([], [ast.arg(parameter)], None, [], [], None, [])
    tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
    try:
        code = compile(tree, "<expression>", "eval")
    except (SyntaxError, RecursionError, MemoryError, ValueError) as exc:
        raise ValueError(f"not a usable expression: {exc}") from exc
    function: Callable[[Any], Any] = eval(code, _GLOBALS)  # noqa: S307 - of checked syntax only
    return function


class Compiled:
    """An expression as two functions: `one` of a record, and `over` of many, which costs no call for each."""

    __slots__ = ("one", "over")

    def __init__(self, body: ast.expr) -> None:
        each = ast.comprehension(ast.Name(RECORD, ast.Store()), ast.Name(_RECORDS, ast.Load()), [], 0)
        self.one: Callable[[Record], Any] = _lambda(RECORD, body)
        self.over: Callable[[Sequence[Record]], list[Any]] = _lambda(_RECORDS, ast.ListComp(body, [each]))


def compile_expression(text: str) -> Compiled:
    """From a record to the expression's value; raises ValueError if it is not allowed."""
    return Compiled(checked(text))


def compile_filter(text: str) -> Compiled:
    """From a record to that record where the expression holds, else to None; raises ValueError."""
    return Compiled(ast.IfExp(checked(text), ast.Name(RECORD, ast.Load()), ast.Constant(None)))


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
        choice = _number(number) if condition is None else ast.IfExp(checked(condition), _number(number), choice)
    return Compiled(choice)


def _number(number: int) -> ast.expr:
    return ast.Constant(number) if number >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-number))


def explain(text: str) -> Callable[[Exception], Exception]:
    """How an exception of this expression is told to a user."""

    def told(exc: Exception) -> Exception:
        if isinstance(exc, KeyError):
            return ExpressionError(f"the record has no field {exc.args[0]!r} (in `{text}`)")
        return ExpressionError(f"{exc} (in `{text}`)")

    return told


def _check(text: str) -> str:
    checked(text)
    return text


def _as_text(value: object) -> object:
    return repr(value) if value is None or isinstance(value, bool | int | float) else value


Expression = Annotated[str, BeforeValidator(_as_text), AfterValidator(_check)]
"""A field of a model that holds an expression; numbers, booleans and null stand for themselves."""
