"""Expressions over whole tables: Arrow's kernels where they mean what Python means, else Python, row by row.

The same text means the same on records and on tables. A kernel is used only where its answer is Python's: where a
null, a type or a division by zero would make a difference, the rows concerned, or all of them, go through the
compiled expression.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from papyra_flow.expressions.bounds import finite
from papyra_flow.expressions.check import RECORD, checked
from papyra_flow.expressions.columns import kernels
from papyra_flow.expressions.columns.datums import Datum, NotTheSameError, as_array, column
from papyra_flow.expressions.compiled import Compiled, explain
from papyra_flow.records.columns import array_of
from papyra_flow.records.entries import Record
from papyra_flow.records.headers import Headers
from papyra_flow.records.table_rows import records_of

Evaluate: TypeAlias = Callable[[pa.Table], Datum]
_OTHERWISE = (pa.ArrowException, NotTheSameError, KeyError)
"""What says that a kernel is not the way here."""


class TableExpression:
    """An expression that is evaluated over tables."""

    def __init__(self, text: str) -> None:
        body = checked(text)
        self._explain = explain(text)
        self._columns = _columns_in(body)
        self._value = _compiled(_value, body)
        self._truth = _compiled(_truth, body)
        self._compiled = Compiled(body)  # last: it changes the tree

    def values(self, table: pa.Table, headers: Headers | None = None) -> pa.Array:
        """The expression's value for each row; raises ExpressionError if it fails on one, or they fit no column."""
        if (found := _by_kernel(self._value, table)) is not None:
            return found
        try:
            return array_of(self._over(table, headers))
        except Exception as exc:
            raise self._explain(exc) from exc

    def mask(self, table: pa.Table, headers: Headers | None = None) -> pa.BooleanArray:
        """Whether the expression holds, for each row; raises ExpressionError if it fails on one."""
        if (found := _by_kernel(self._truth, table)) is not None:
            return found
        try:
            return pa.array([bool(finite(value)) for value in self._over(table, headers)], pa.bool_())
        except Exception as exc:
            raise self._explain(exc) from exc

    def _over(self, table: pa.Table, headers: Headers | None) -> list[object]:
        """The value for each row; the headers are those of the table's entry, and the same for all."""
        rows = self._rows(table)
        if self._compiled.needs_headers:
            same = headers if headers is not None else Headers()
            return self._compiled.over([(row, same) for row in rows])
        return self._compiled.over(rows)

    def _rows(self, table: pa.Table) -> list[Record]:
        """The records, with no more fields than are looked at."""
        if self._columns is None:
            return records_of(table)
        if found := [name for name in self._columns if name in table.column_names]:
            return records_of(table.select(found))
        return [{} for _ in range(table.num_rows)]


def _by_kernel(evaluate: Evaluate | None, table: pa.Table) -> pa.Array | None:
    """What Arrow's kernels make of a table; None where they are not the way, and each row is asked."""
    if evaluate is None:
        return None
    try:
        return as_array(evaluate(table), table.num_rows)
    except _OTHERWISE:
        return None


def _columns_in(body: ast.expr) -> frozenset[str] | None:
    """The fields that an expression looks at, None if it looks at the record as a whole."""
    names, whole = set(), 0
    for node in ast.walk(body):
        if isinstance(node, ast.Name) and node.id == RECORD:
            whole += 1
        elif (name := _field(node)) is not None:
            names.add(name)
            whole -= 1
    return None if whole else frozenset(names)


def _field(node: ast.AST) -> str | None:
    """The field that a node is the look-up of."""
    if isinstance(node, ast.Subscript) and _is_record(node.value) and isinstance(node.slice, ast.Constant):
        return node.slice.value if isinstance(node.slice.value, str) else None
    return None


def _is_record(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == RECORD


def _compiled(how: Callable[[ast.expr], Evaluate], body: ast.expr) -> Evaluate | None:
    try:
        return how(body)
    except (NotTheSameError, pa.ArrowException, OverflowError):
        return None


# -- truth: conditions, and what stands in them ---------------------------------------------------------------


def _truth(node: ast.expr) -> Evaluate:
    if isinstance(node, ast.BoolOp):
        operands = [_truth(value) for value in node.values]
        return lambda table: _in_turn(operands, table, either=isinstance(node.op, ast.Or))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        operand = _truth(node.operand)
        return lambda table: pc.invert(operand(table))
    value = _value(node)
    return lambda table: kernels.truth(value(table))


def _in_turn(operands: Sequence[Evaluate], table: pa.Table, *, either: bool) -> Datum:
    """`and` or `or`: what stands behind is asked only of the rows that are not decided yet, if it has to be."""
    mask = as_array(operands[0](table), table.num_rows)
    for operand in operands[1:]:
        try:
            mask = (pc.or_ if either else pc.and_)(mask, operand(table))
        except _OTHERWISE:
            open_rows = pc.invert(mask) if either else mask
            rest = table.filter(open_rows)
            mask = pc.replace_with_mask(mask, open_rows, as_array(operand(rest), rest.num_rows))
    return mask


# -- values ---------------------------------------------------------------------------------------------------


def _value(node: ast.expr) -> Evaluate:
    if (name := _field(node)) is not None:
        return lambda table: column(table, name)
    build = _BUILDERS.get(type(node))
    if build is None:
        raise NotTheSameError
    return build(node)


def _constant(node: ast.Constant) -> Evaluate:
    scalar = pa.scalar(node.value)
    return lambda _: scalar


def _negation(node: ast.UnaryOp) -> Evaluate:
    if isinstance(node.op, ast.Not):
        return _truth(node)
    operand = _value(node.operand)
    if isinstance(node.op, ast.USub):
        return lambda table: kernels.negative(operand(table))
    raise NotTheSameError


def _conditions(node: ast.BoolOp) -> Evaluate:
    """As a value, `a or b` is one of its operands: the truth only where they are conditions themselves."""
    if all(isinstance(value, ast.Compare | ast.BoolOp) or _is_not(value) for value in node.values):
        return _truth(node)
    raise NotTheSameError


def _is_not(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _operation(node: ast.BinOp) -> Evaluate:
    return _binary(kernels.OPERATORS.get(type(node.op)), node.left, node.right)


def _binary(kernel: Callable[[Datum, Datum], Datum] | None, left: ast.expr, right: ast.expr) -> Evaluate:
    if kernel is None:
        raise NotTheSameError
    one, other = _value(left), _value(right)
    return lambda table: kernel(one(table), other(table))


def _comparison(node: ast.Compare) -> Evaluate:
    pairs: list[Evaluate] = []
    left = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        pairs.append(_compared(operator, left, right))
        left = right
    return pairs[0] if len(pairs) == 1 else lambda table: _in_turn(pairs, table, either=False)


def _compared(operator: ast.cmpop, left: ast.expr, right: ast.expr) -> Evaluate:
    if isinstance(operator, ast.In | ast.NotIn):
        inside = _inside(left, right)
        return inside if isinstance(operator, ast.In) else lambda table: pc.invert(inside(table))
    if isinstance(operator, ast.Is | ast.IsNot) and not (isinstance(right, ast.Constant) and right.value is None):
        raise NotTheSameError
    return _binary(kernels.COMPARISONS.get(type(operator)), left, right)


def _inside(left: ast.expr, right: ast.expr) -> Evaluate:
    if isinstance(right, ast.Tuple | ast.List | ast.Set):
        if not all(isinstance(item, ast.Constant) for item in right.elts):
            raise NotTheSameError
        values = pa.array([item.value for item in right.elts if isinstance(item, ast.Constant)])
        value = _value(left)
        return lambda table: kernels.one_of(value(table), values)
    if isinstance(left, ast.Constant) and isinstance(left.value, str):
        part, text = left.value, _value(right)
        return lambda table: kernels.contains(text(table), part)
    raise NotTheSameError


def _choice(node: ast.IfExp) -> Evaluate:
    condition, one, other = _truth(node.test), _value(node.body), _value(node.orelse)

    def chosen(table: pa.Table) -> Datum:
        mask = as_array(condition(table), table.num_rows)
        try:
            return kernels.choose(mask, one(table), other(table))
        except _OTHERWISE:
            yes, no = table.filter(mask), table.filter(pc.invert(mask))
            return kernels.spread(mask, as_array(one(yes), yes.num_rows), as_array(other(no), no.num_rows))

    return chosen


def _call(node: ast.Call) -> Evaluate:
    function, arguments = node.func, node.args
    if node.keywords:
        raise NotTheSameError
    if isinstance(function, ast.Attribute):
        return _applied(kernels.METHODS.get(function.attr), [function.value, *arguments])
    if not isinstance(function, ast.Name):
        raise NotTheSameError
    if function.id in {"get", "has"} and _is_record(arguments[0]) and isinstance(arguments[1], ast.Constant):
        return _of_record(function.id, str(arguments[1].value), arguments[2:])
    return _applied(kernels.FUNCTIONS.get(function.id), arguments)


def _of_record(function: str, name: str, default: Sequence[ast.expr]) -> Evaluate:
    if function == "has":
        return lambda table: pa.scalar(name in table.column_names)
    otherwise = _value(default[0]) if default else _constant(ast.Constant(None))
    return lambda table: column(table, name) if name in table.column_names else otherwise(table)


def _applied(kernel: Callable[..., Datum] | None, arguments: Sequence[ast.expr]) -> Evaluate:
    if kernel is None:
        raise NotTheSameError
    values = [_value(argument) for argument in arguments]

    def applied(table: pa.Table) -> Datum:
        try:
            return kernel(*(value(table) for value in values))
        except TypeError as exc:  # another number of arguments than the kernel is for
            raise NotTheSameError from exc

    return applied


def _text(node: ast.JoinedStr) -> Evaluate:
    parts: list[Evaluate] = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            if part.conversion != -1 or part.format_spec is not None:
                raise NotTheSameError
            parts.append(_value(part.value))
        else:
            parts.append(_value(part))
    return lambda table: kernels.joined([kernels.text(part(table)) for part in parts])


_BUILDERS: Mapping[type[ast.expr], Callable[..., Evaluate]] = {
    ast.BinOp: _operation,
    ast.BoolOp: _conditions,
    ast.Call: _call,
    ast.Compare: _comparison,
    ast.Constant: _constant,
    ast.IfExp: _choice,
    ast.JoinedStr: _text,
    ast.UnaryOp: _negation,
}
