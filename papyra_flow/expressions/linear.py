"""Comprehensions that are linear in what they walk over, whatever that is: they need no counter.

`[t.upper() for t in tags if t != "a"]` looks at each item of a field once, and makes of each no more than a few times
what it is. One that looks at something else for each item (`t in others`), repeats it, or walks over a second list, is
counted (`loops`).
"""

from __future__ import annotations

import ast
from typing import TypeAlias

from papyra_flow.expressions import plain

Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_FUNCTIONS = frozenset({"abs", "bool", "coalesce", "date", "datetime", "float", "int", "len", "round", "str"})
_METHODS = frozenset({
    "capitalize", "casefold", "count", "date", "endswith", "find", "get", "isalpha", "isdigit", "isoformat",
    "isoweekday", "lower", "lstrip", "removeprefix", "removesuffix", "rstrip", "startswith", "strip", "timestamp",
    "title", "total_seconds", "upper", "weekday",
})  # fmt: skip
_ADDING = (ast.Add, ast.Sub, ast.Div, ast.FloorDiv)


def is_linear(node: Comprehension) -> bool:
    """Whether a comprehension, that is not in another one, is linear in the field that it walks over."""
    if len(node.generators) != 1 or node.generators[0].is_async or not plain.is_path(node.generators[0].iter):
        return False
    (generator,) = node.generators
    names = {part.id for part in ast.walk(generator.target) if isinstance(part, ast.Name)}
    made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    return all(_looks_at(part, names) for part in [*made, *generator.ifs])


def is_summed(node: ast.Call) -> bool:
    """Whether a call sums up products of numbers: a text or a list in there is the end of it at once."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "sum" and len(node.args) == 1 and not node.keywords):
        return False
    summed = node.args[0]
    if not isinstance(summed, ast.GeneratorExp) or not isinstance(summed.elt, ast.BinOp):
        return False
    factors = _factors(summed.elt)
    alike = [ast.GeneratorExp(factor, summed.generators) for factor in factors]
    return len(factors) < 8 and all(is_linear(one) for one in alike)


def _factors(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


def _looks_at(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression looks at nothing but what these names hold, once."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Attribute | ast.UnaryOp):
        return _looks_at(node.value if isinstance(node, ast.Attribute) else node.operand, names)
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and _looks_at(node.value, names)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, _ADDING) and _looks_at(node.left, names) and _looks_at(node.right, names)
    if isinstance(node, ast.BoolOp):
        return all(_looks_at(value, names) for value in node.values)
    if isinstance(node, ast.IfExp):
        return all(_looks_at(part, names) for part in (node.test, node.body, node.orelse))
    if isinstance(node, ast.Compare):
        return _compares(node, names)
    if isinstance(node, ast.JoinedStr):
        return plain.is_plain_text(node) and all(
            _looks_at(part.value, names) for part in node.values if isinstance(part, ast.FormattedValue)
        )
    if isinstance(node, ast.Call):
        return _calls(node, names)
    if isinstance(node, ast.Dict):
        return None not in node.keys and all(_looks_at(part, names) for part in [*node.keys, *node.values] if part)
    return isinstance(node, ast.List | ast.Tuple) and all(_looks_at(part, names) for part in node.elts)


def _compares(node: ast.Compare, names: set[str]) -> bool:
    """What is compared with an item is not looked at further than the item goes."""
    if len(node.ops) > 1:
        return False
    (operator,), (right,) = node.ops, node.comparators
    if isinstance(operator, ast.In | ast.NotIn):
        fixed = isinstance(right, ast.Tuple | ast.List | ast.Set) and all(
            isinstance(e, ast.Constant) for e in right.elts
        )
        return _looks_at(node.left, names) and (fixed or _looks_at(right, names))
    sides = [node.left, right]
    return any(_looks_at(side, names) for side in sides) and all(
        _looks_at(side, names) or plain.is_path(side) for side in sides
    )


def _calls(node: ast.Call, names: set[str]) -> bool:
    if node.keywords or not all(_looks_at(argument, names) for argument in node.args):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in _METHODS and _looks_at(node.func.value, names)
    return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
