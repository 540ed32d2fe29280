"""Exact sums: integers of any size, and floats without rounding, so that no order of arrival shows in a result.

A sum of floats is kept as few floats that do not overlap (Shewchuk, "Adaptive Precision Floating-Point Arithmetic",
1997, https://doi.org/10.1007/PL00009321, as in Python's `math.fsum`): the first is the sum rounded, the second what
that left out, and so on. Equal sums are equal lists. Where the sum is larger than a float can be, it is one integer
instead, in units of the smallest float.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

BITS = 1074
"""The smallest float is 2 to the power of minus this."""

Floats: TypeAlias = list[float] | int
"""The sum of floats; an empty list where there were none."""


def add_numbers(whole: int, floats: Floats, values: Sequence[int | float]) -> tuple[int, Floats]:
    """The sums of integers and of floats, with these added."""
    if len(values) == 1:
        (value,) = values
        return (whole + value, floats) if isinstance(value, int) else (whole, add_floats(floats, values))
    kinds = set(map(type, values))
    if kinds == {int}:
        return whole + sum(values), floats  # type: ignore[return-value]
    if kinds == {float}:
        return whole, add_floats(floats, values)
    added = [value for value in values if isinstance(value, float)]
    return whole + sum(value for value in values if isinstance(value, int)), add_floats(floats, added)


def add_floats(floats: Floats, values: Sequence[float]) -> Floats:
    """A sum of floats, with these added."""
    if isinstance(floats, int):
        return _expansion_of(floats + sum(map(units, values)))
    rest = [*floats, *values]
    found: list[float] = []
    try:
        while part := math.fsum(rest):
            found.append(part)
            rest.append(-part)
    except OverflowError:
        return _expansion_of(sum(map(units, [*floats, *values])))
    return found or [0.0]


def join_floats(floats: Floats, other: Floats) -> Floats:
    """The sum of two sums."""
    if floats == [] or other == []:
        return other or floats
    if isinstance(other, int):
        return _expansion_of(other + (floats if isinstance(floats, int) else sum(map(units, floats))))
    return add_floats(floats, other)


def total(whole: int, floats: Floats) -> int | float:
    """The sum of both, rounded once where a float was among them; an integer where no float is as large."""
    if isinstance(floats, list):
        if not floats:
            return whole
        if not whole:
            return floats[0]
        if -(2**53) < whole < 2**53:
            return math.fsum([whole, *floats])
        floats = sum(map(units, floats))
    return quotient(floats + (whole << BITS), 1 << BITS)


def units(value: float) -> int:
    """A float as a multiple of the smallest one."""
    over, under = value.as_integer_ratio()
    return over << (BITS + 1 - under.bit_length())


def quotient(over: int, under: int) -> int | float:
    """A fraction rounded once, to the nearest float; to the nearest integer where no float is as large."""
    try:
        return over / under
    except OverflowError:
        return (2 * over + under) // (2 * under)


def square_root(over: int, under: int) -> float:
    """The root of a fraction that is not negative, to the nearest float or next to it."""
    if not over:
        return 0.0
    shift = max(0, 66 + (under.bit_length() - over.bit_length()) // 2)
    return float(quotient(math.isqrt((over << 2 * shift) // under), 1 << shift))


def _expansion_of(count: int) -> Floats:
    """The sum that is so many of the smallest float."""
    found: list[float] = []
    while count:
        try:
            part = count / (1 << BITS)
        except OverflowError:
            return count
        found.append(part)
        count -= units(part)
    return found or [0.0]


def as_pairs(values: Iterable[int | float]) -> list[tuple[int, int]]:
    """Numbers as integers and the power of two, each, that they are divided by."""
    return [(over, under.bit_length() - 1) for over, under in (value.as_integer_ratio() for value in values)]
