"""Arrow's kernels for the operations of expressions, each one only where its answer is Python's own.

Whatever Python would do otherwise (a null in a sum is an error, `True + 1` is 2, `1 / 0` raises) is refused with
`NotTheSameError`; the rows are then asked one by one. https://arrow.apache.org/docs/python/api/compute.html
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from papyra_flow.expressions.columns.datums import (
    Datum,
    any_true,
    has_nulls,
    kind_of,
    require,
    require_integers,
    require_numbers,
    require_texts,
    widened,
)


def truth(value: Datum) -> Datum:
    """What `bool()` says of each value."""
    kind = kind_of(value)
    if kind == "bool":
        found = value
    elif kind == "null":
        return pa.scalar(False) if isinstance(value, pa.Scalar) else pa.repeat(pa.scalar(False), len(value))
    elif kind == "text":
        found = pc.not_equal(pc.binary_length(value), 0)
    else:
        found = pc.not_equal(finite(value), 0)
    return pc.fill_null(found, False) if has_nulls(found) else found


def finite(value: Datum) -> Datum:
    """The value, if there is no float in it that grew beyond all bounds."""
    require(kind_of(value) != "float" or not any_true(pc.invert(pc.is_finite(value))))
    return value


# -- arithmetic -----------------------------------------------------------------------------------------------


def negative(value: Datum) -> Datum:
    """`-value`."""
    require_numbers(value)
    return pc.negate_checked(value)


def _add(left: Datum, right: Datum) -> Datum:
    if kind_of(left) == "text":
        require_texts(left, right)
        return joined([left, right])
    require_numbers(left, right)
    return pc.add_checked(left, right)


def _subtract(left: Datum, right: Datum) -> Datum:
    require_numbers(left, right)
    return pc.subtract_checked(left, right)


def _multiply(left: Datum, right: Datum) -> Datum:
    require_numbers(left, right)
    return pc.multiply_checked(left, right)


def _divide(left: Datum, right: Datum) -> Datum:
    require_numbers(left, right)
    require(not any_true(pc.equal(right, 0)))
    return pc.divide(pc.cast(left, pa.float64()), pc.cast(right, pa.float64()))


def _floor_divide(left: Datum, right: Datum) -> Datum:
    """Python rounds down, Arrow towards zero."""
    require_integers(left, right)
    quotient = pc.divide_checked(left, right)
    rest = pc.subtract(left, pc.multiply(quotient, right))
    down = pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(right, 0)))
    return pc.subtract_checked(quotient, pc.cast(down, pa.int64()))


def _modulo(left: Datum, right: Datum) -> Datum:
    return pc.subtract(left, pc.multiply(_floor_divide(left, right), right))


def _absolute(value: Datum) -> Datum:
    require_numbers(value)
    return pc.abs_checked(value)


def _rounded(value: Datum) -> Datum:
    require_numbers(value)
    return pc.cast(pc.round(value, ndigits=0, round_mode="half_to_even"), pa.int64())


def _extreme(kernel: Callable[..., Datum]) -> Callable[..., Datum]:
    def extreme(*values: Datum) -> Datum:
        require(len(values) > 1)
        require_numbers(*values)
        require(len({kind_of(value) for value in values}) == 1)  # of 3 and 2.5, the largest is not a float
        require(not any(kind_of(value) == "float" and any_true(pc.is_nan(value)) for value in values))
        return kernel(*values)

    return extreme


# -- comparisons ----------------------------------------------------------------------------------------------


def _comparable(left: Datum, right: Datum) -> None:
    kinds = {kind_of(left), kind_of(right)}
    require(len(kinds) == 1 or kinds == {"int", "float"})


def _equal(left: Datum, right: Datum) -> Datum:
    if "null" in {kind_of(left), kind_of(right)}:
        return pc.and_(pc.is_null(left), pc.is_null(right))
    _comparable(left, right)
    same = pc.equal(left, right)
    if not has_nulls(left, right):
        return same
    return pc.or_(pc.fill_null(same, False), pc.and_(pc.is_null(left), pc.is_null(right)))


def _unequal(left: Datum, right: Datum) -> Datum:
    return pc.invert(_equal(left, right))


def _ordered(kernel: Callable[[Datum, Datum], Datum]) -> Callable[[Datum, Datum], Datum]:
    def ordered(left: Datum, right: Datum) -> Datum:
        _comparable(left, right)
        require(kind_of(left) != "null" and not has_nulls(left, right))
        return kernel(left, right)

    return ordered


def one_of(value: Datum, values: pa.Array) -> Datum:
    """`value in (...)`."""
    _comparable(value, values)
    return pc.is_in(value, value_set=values)


def contains(value: Datum, part: str) -> Datum:
    """`part in value`."""
    require_texts(value)
    return pc.match_substring(value, pattern=part)


# -- text -----------------------------------------------------------------------------------------------------


def text(value: Datum) -> Datum:
    """`str(value)`, of text and integers: floats and truths are written otherwise in Python."""
    require(kind_of(value) in {"text", "int"} and not has_nulls(value))
    return value if kind_of(value) == "text" else pc.cast(value, pa.string())


def joined(parts: Sequence[Datum]) -> Datum:
    """Text behind text."""
    if not parts:
        return pa.scalar("")
    wide = any(pa.types.is_large_string(part.type) for part in parts)
    same = [pc.cast(part, pa.large_string()) for part in parts] if wide else parts
    return pc.binary_join_element_wise(*same, pa.scalar("", same[0].type))


def _constant(value: Datum) -> str:
    require(isinstance(value, pa.Scalar))
    require_texts(value)
    return str(value.as_py())


def _begins(value: Datum, part: Datum) -> Datum:
    require_texts(value)
    return pc.starts_with(value, pattern=_constant(part))


def _ends(value: Datum, part: Datum) -> Datum:
    require_texts(value)
    return pc.ends_with(value, pattern=_constant(part))


def _in_ascii(kernel: Callable[[Datum], Datum]) -> Callable[[Datum], Datum]:
    def cased(value: Datum) -> Datum:
        require_texts(value)
        require(not any_true(pc.invert(pc.string_is_ascii(value))))
        return kernel(value)

    return cased


def _length(value: Datum) -> Datum:
    require_texts(value)
    return pc.cast(pc.utf8_length(value), pa.int64())


# -- other types, and choices ---------------------------------------------------------------------------------


def _integer(value: Datum) -> Datum:
    kind = kind_of(value)
    require(kind in {"int", "float", "text"} and not has_nulls(value))
    if kind == "float":
        return pc.cast(pc.trunc(value), pa.int64())
    if kind == "text":
        require(not any_true(pc.invert(pc.match_substring_regex(value, pattern=r"\A[+-]?[0-9]+\z"))))
    return pc.cast(value, pa.int64())


def _float(value: Datum) -> Datum:
    kind = kind_of(value)
    require(kind in {"int", "float", "text"} and not has_nulls(value))
    if kind == "text":
        require(not any_true(pc.invert(pc.match_substring_regex(value, pattern=r"\A[+-]?[0-9]+(\.[0-9]+)?\z"))))
    found = pc.cast(value, pa.float64())
    require(not any_true(pc.invert(pc.is_finite(found))))  # too many digits for a float
    return found


def _coalesce(*values: Datum) -> Datum:
    require(len({value.type for value in values}) == 1)
    return pc.coalesce(*values)


def _field(value: Datum, name: Datum) -> Datum:
    require(isinstance(value, pa.Array) and pa.types.is_struct(value.type) and not has_nulls(value))
    return widened(pc.struct_field(value, name.as_py()))


def choose(mask: pa.Array, one: Datum, other: Datum) -> Datum:
    """`one if mask else other`."""
    require(one.type == other.type)
    return pc.if_else(mask, one, other)


def spread(mask: pa.Array, ones: pa.Array, others: pa.Array) -> pa.Array:
    """The same, of values for those rows only that they are for."""
    require(ones.type == others.type)
    found = pc.replace_with_mask(pa.nulls(len(mask), ones.type), mask, ones)
    return pc.replace_with_mask(found, pc.invert(mask), others)


OPERATORS: Mapping[type[ast.operator], Callable[[Datum, Datum], Datum]] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: _multiply,
    ast.Div: _divide,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _modulo,
}
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Datum, Datum], Datum]] = {
    ast.Eq: _equal,
    ast.NotEq: _unequal,
    ast.Is: lambda left, _: pc.is_null(left),
    ast.IsNot: lambda left, _: pc.is_valid(left),
    ast.Lt: _ordered(pc.less),
    ast.LtE: _ordered(pc.less_equal),
    ast.Gt: _ordered(pc.greater),
    ast.GtE: _ordered(pc.greater_equal),
}
FUNCTIONS: Mapping[str, Callable[..., Datum]] = {
    "abs": _absolute,
    "bool": truth,
    "coalesce": _coalesce,
    "float": _float,
    "int": _integer,
    "len": _length,
    "max": _extreme(pc.max_element_wise),
    "min": _extreme(pc.min_element_wise),
    "round": _rounded,
    "str": text,
    "_attribute": _field,
    "_finite": finite,
    "_modulo": _modulo,
    "_times": _multiply,
}
METHODS: Mapping[str, Callable[..., Datum]] = {
    "endswith": _ends,
    "lower": _in_ascii(pc.ascii_lower),
    "startswith": _begins,
    "upper": _in_ascii(pc.ascii_upper),
}
