"""Where a float that grew beyond all bounds would decide something without a word, and a check there.

Of two finite numbers a product, a sum, a difference or a quotient may be infinite. As the value of a field it is
refused later; within an expression it would be compared, written out, or divided by: there it is checked. What only
hands it on (the next sum) needs no check, nor what cannot grow so far, such as `n + 1`.
"""

from __future__ import annotations

import ast
import math

_SMALL = 1e290
"""Added to a finite float, this makes no infinite one."""
_HANDING_ON = (ast.Add, ast.Sub, ast.Mult)
_TOTALS = frozenset({"sum", "_sum"})
_GUARDS: dict[str, type[ast.operator]] = {
    "_plus": ast.Add, "_times": ast.Mult, "_modulo": ast.Mod, "_power": ast.Pow
}  # fmt: skip
"""The operators that guards stand for."""


def with_checks(body: ast.expr) -> ast.expr:
    """The checked tree with its checks; what it comes to is not checked itself.

    Not by a visitor: a long sum is nested as deeply as it is long.
    """
    nodes = list(ast.walk(body))
    growing: set[int] = set()
    free: set[int] = set()
    for node in reversed(nodes):  # what is inside comes first
        inside = {id(part) for part in _handed_on(node)}
        free |= inside
        if _may_grow(node) or not growing.isdisjoint(inside):
            growing.add(id(node))
    hiding = growing - free
    for node in nodes:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                value[:] = [_checked(part) if id(part) in hiding else part for part in value]
            elif id(value) in hiding:
                setattr(node, name, _checked(value))
    return body


def as_condition(body: ast.expr) -> ast.expr:
    """The same, where it is asked whether the value is true."""
    nodes = [body, *_handed_on(body)]
    return _checked(body) if any(_may_grow(node) or _handed_on(node) for node in nodes) else body


def _checked(node: ast.expr) -> ast.Call:
    call = ast.Call(ast.Name("_finite", ast.Load()), [node], [])
    return ast.fix_missing_locations(ast.copy_location(call, node))


def _is_total(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TOTALS


def _operation(node: ast.AST) -> tuple[type[ast.operator], ast.expr, ast.expr] | None:
    if isinstance(node, ast.BinOp):
        return type(node.op), node.left, node.right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _GUARDS:
        left, right = node.args
        return _GUARDS[node.func.id], left, right
    return None


def _may_grow(node: ast.AST) -> bool:
    """Whether it may come to an infinite float itself, of finite ones."""
    if _is_total(node):
        return True
    if (found := _operation(node)) is None:
        return False
    operator, left, right = found
    sizes = [_size(left), _size(right)]
    if operator in {ast.Add, ast.Sub}:
        return all(size >= _SMALL for size in sizes)
    if operator is ast.Mult:
        return all(size > 1 for size in sizes)
    return operator in {ast.Div, ast.FloorDiv} and not (isinstance(right, ast.Constant) and sizes[1] >= 1)


def _size(node: ast.expr) -> float:
    """How large a constant is, as far as is known; text makes no number grow."""
    if not isinstance(node, ast.Constant):
        return math.inf
    return abs(node.value) if isinstance(node.value, int | float) else 0


def _handed_on(node: ast.AST) -> list[ast.expr]:
    """The parts whose being infinite makes it so itself, or NaN."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return [node.operand]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.BoolOp):
        return node.values[-1:]
    if isinstance(node, ast.Call) and _is_total(node):
        return [part.elt if isinstance(part, ast.GeneratorExp) else part for part in node.args]
    if (found := _operation(node)) is None:
        return []
    operator, left, right = found
    if operator in _HANDING_ON:
        return [left, right]
    return [left] if operator in {ast.Div, ast.FloorDiv, ast.Mod} else []
