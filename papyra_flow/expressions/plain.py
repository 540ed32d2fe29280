"""Which operations need no guard, seen from an expression's text: so that ordinary ones cost what they cost in Python.

An operation is plain if all that it can make is a small multiple of what the record has.
"""

from __future__ import annotations

import ast

MOST_GROWTH = 64
"""How many times the record an expression may make of it without being guarded."""
_SMALL = 16
"""A factor that a text may be repeated by without being guarded."""
_LARGE = 10_000

AT_A_GLANCE = frozenset({"len", "bool", "has", "get", "coalesce", "abs", "float", "round", "date", "datetime"})
"""Functions that do not look through what they are given."""
DEEP = frozenset({"str", "sorted", "set", "max", "min"})
"""Functions that look at what is inside the things that they are given, too."""
_NUMBERS = frozenset({"abs", "float", "int", "len", "round", "sum", "bool", "has", "matches", "any", "all"})
SMALL_RESULTS = _NUMBERS | {
    "count", "date", "datetime", "endswith", "find", "get", "isalpha", "isdigit", "isoformat", "isoweekday", "items",
    "keys", "max", "min", "startswith", "timedelta", "timestamp", "total_seconds", "values", "weekday",
}  # fmt: skip
"""What makes nothing that is longer than what it is given."""
_GUARDED_GROWTH = 8
"""What a guarded operation counts for, which may make up to its bound."""
_GROWING = frozenset({"replace", "join", "str", "list", "sorted", "tuple"})


def growth(node: ast.AST) -> int:
    """How many times the record a value may be, if nothing in it is guarded; loops and guarded calls are bounded."""
    if isinstance(node, ast.Constant):
        return 0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        factors = [side.value for side in (node.left, node.right) if _is_small(side)]  # type: ignore[attr-defined]
        return max(growth(node.left), growth(node.right), 1) * max(factors, default=_GUARDED_GROWTH)
    if isinstance(node, ast.Call):
        given: list[ast.AST] = [*node.args, *node.keywords]
        named = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute):
            given.append(node.func.value)
            named = node.func.attr
        if named in _NUMBERS:
            return 0 if named != "sum" else 1
        return sum(map(growth, given)) + (_GUARDED_GROWTH if named in _GROWING else 0)
    if isinstance(node, ast.IfExp):
        return max(growth(node.body), growth(node.orelse)) + growth(node.test)
    if isinstance(node, ast.Name):
        return 1
    if isinstance(node, ast.FormattedValue):
        return 2 * growth(node.value)
    return sum(growth(child) for child in ast.iter_child_nodes(node))


def guard_of(node: ast.BinOp, *, careful: bool) -> str | None:
    """The guard that an operation needs, None if it needs none; `careful` is within loops and very long expressions."""
    left, right = node.left, node.right
    if isinstance(node.op, ast.Pow):
        return "_power"
    if isinstance(node.op, ast.Mod):
        return None if _is_number(left) else "_modulo"
    if isinstance(node.op, ast.Mult):
        if _is_float(left) or _is_float(right):
            return None
        small = _SMALL if not careful else 0
        if any(_is_constant(side, small) for side in (left, right)):
            return None
        numeric = (_is_constant(left, _LARGE) and _is_number(right)) or (
            _is_constant(right, _LARGE) and _is_number(left)
        )
        return None if numeric else "_times"
    if isinstance(node.op, ast.Add) and careful:
        return None if _is_number(left) or _is_number(right) else "_plus"
    return None


def may_be_long(node: ast.BinOp) -> bool:
    """Whether an operation may make text, a list or a set."""
    if isinstance(node.op, ast.Add):
        return not (_is_number(node.left) or _is_number(node.right))
    if isinstance(node.op, ast.Mult | ast.Pow):
        return not (_is_float(node.left) or _is_float(node.right))
    if isinstance(node.op, ast.BitAnd | ast.BitOr | ast.BitXor | ast.Sub):
        made = (ast.Call, ast.Set, ast.SetComp)
        return isinstance(node.op, ast.BitOr) or any(isinstance(side, made) for side in (node.left, node.right))
    return False


def is_plain_call(name: str, node: ast.Call) -> bool:
    """Whether a function that has a guard needs none here, outside of loops."""
    arguments = node.args
    if node.keywords or not arguments:
        return False
    if name == "round":
        return len(arguments) == 1 or _is_constant(arguments[1], 100)
    if name in {"int", "sum"}:
        return len(arguments) == 1
    return name == "str" and len(arguments) == 1 and (is_path(arguments[0]) or _is_number(arguments[0]))


def is_plain_method(name: str, function: ast.Attribute, node: ast.Call) -> bool:
    """Whether a method that has a guard needs none here, outside of loops."""
    constants = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if node.keywords or len(constants) < len(node.args):
        return name == "join" and _is_short_text(function.value) and len(node.args) == 1 and is_path(node.args[0])
    if name in {"strip", "lstrip", "rstrip"}:
        return True
    if name == "replace":
        return len(constants) == 2 and 0 < len(constants[0]) >= len(constants[1])
    return False


def is_plain_text(node: ast.JoinedStr) -> bool:
    """Whether an f-string has only fields and numbers in it, each as it is or in a format."""
    return all(
        isinstance(part, ast.Constant)
        or (isinstance(part, ast.FormattedValue) and part.conversion == -1 and _is_simple(part.value))
        for part in node.values
    )


def is_taken_from(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> bool:
    """Whether a comprehension holds only parts of what it walks over, each once: it cannot be more than that."""
    if isinstance(node, ast.DictComp) or len(node.generators) > 1:
        return False
    if isinstance(node.elt, ast.Compare | ast.Constant) or _is_number(node.elt):
        return True
    names = {part.id for part in ast.walk(node.generators[0].target) if isinstance(part, ast.Name)}
    elt = node.elt
    while isinstance(elt, ast.Attribute):
        elt = elt.value
    return isinstance(elt, ast.Name) and elt.id in names


def is_path(node: ast.AST) -> bool:
    """Whether it is a field, or a field of one, or an item of that."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant):
            return False
        node = node.value
    return isinstance(node, ast.Name)


def _is_simple(node: ast.AST) -> bool:
    """What is written out at no more than a few times its size, dates and times included."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {*_NUMBERS, "date", "datetime", "coalesce"}
    if isinstance(node, ast.BinOp):
        return _is_simple(node.left) and _is_simple(node.right)
    if isinstance(node, ast.IfExp):
        return _is_simple(node.body) and _is_simple(node.orelse)
    return isinstance(node, ast.Constant) or is_path(node)


def _is_constant(node: ast.AST, most: int) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and (isinstance(node.value, float) or abs(node.value) <= most)
    )


def _is_small(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and 0 < node.value <= _SMALL


def _is_short_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) <= _SMALL


def _is_float(node: ast.AST) -> bool:
    """A float, or what fails as soon as it is multiplied by text or a list."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "float"
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div)
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


def _is_number(node: ast.AST) -> bool:
    """A number, or what is neither text nor a list."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _NUMBERS
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Pow)
    if isinstance(node, ast.UnaryOp):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)
