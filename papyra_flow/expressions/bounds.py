"""What an expression may make, and the operations that could make more, each with its bound.

An operation that is linear in its operands needs no guard: a record is bounded by `max_record`. Those here are not: a
product, a power, a long chain of sums. Whatever they refuse is an ExpressionError that names the bound, and the failure
of that record alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from datetime import timedelta
from math import isfinite
from types import GeneratorType
from typing import Any, TypeAlias

from papyra_flow.errors import ExpressionError

MAX_TEXT = 16 * 1024**2
"""Characters of a text that is made, twice the default `max_record`."""
MAX_ITEMS = 1_000_000
"""Items of a list, set or dict that is made, those of the lists in it included."""
MAX_BITS = 100_000
"""Bits of an integer that is made: 30,000 digits, which one more multiplication takes under a millisecond for."""
MAX_DIGITS = 1000
"""Places that `round` rounds to."""
MAX_STRIPPED = 1000
"""Characters that `strip` takes away: each one of the text is looked up among them."""

_MOST = 1 << MAX_BITS
_LEAST = -_MOST

Operand: TypeAlias = Any  # an operand of any type, as Python's operators take them
NESTED = (list, tuple, set, frozenset, dict)
_ATOMS = frozenset({float, bool, type(None)})
_NUMBERS = frozenset({int, float, bool})


def _too_long(what: str, most: int, unit: str) -> ExpressionError:
    return ExpressionError(f"{what} would have more than {most:,} {unit}")


def refuse_text(length: int) -> None:
    """Raise ExpressionError for a text of more characters than may be made."""
    if length > MAX_TEXT:
        raise _too_long("the text", MAX_TEXT, "characters")


def refuse_items(count: int) -> None:
    """Raise ExpressionError for a list of more items than may be made."""
    if count > MAX_ITEMS:
        raise _too_long("the list", MAX_ITEMS, "items")


def weigh(value: object) -> tuple[int, int]:
    """The items and characters of a value, each counted as often as it stands in there.

    A list may hold one long text many times, which costs nothing before it is written. Raises ExpressionError as soon
    as it is too much.
    """
    items = characters = 0
    waiting: list[Iterable[object]] = [(value,)]
    while waiting:
        for one in waiting.pop():
            kind = type(one)
            if kind is str:
                characters += len(one)  # type: ignore[arg-type]
                if characters > MAX_TEXT:
                    refuse_text(characters)
            elif kind is int:
                characters += one.bit_length() // 8  # type: ignore[attr-defined]
            elif kind not in _ATOMS and isinstance(one, NESTED):
                items += len(one)
                refuse_items(items)
                waiting.append(one)
                if isinstance(one, dict):
                    waiting.append(one.values())
    return items, characters


def weighed(value: Operand) -> Operand:
    """The value, if it is not too large; a text or a list of other things is."""
    if isinstance(value, NESTED):
        weigh(value)
    elif isinstance(value, str):
        refuse_text(len(value))
    return value


# -- operators ------------------------------------------------------------------------------------------------


def times(left: Operand, right: Operand) -> Operand:
    """`left * right`."""
    if type(left) in _NUMBERS and type(right) in _NUMBERS:
        product = left * right
        if type(product) is int and not _LEAST < product < _MOST:
            raise _too_long("the integer", MAX_BITS, "bits")
        return product
    repeated, count = (left, right) if isinstance(right, int) else (right, left)
    if isinstance(count, int) and isinstance(repeated, Sized):
        if isinstance(repeated, str):
            refuse_text(len(repeated) * count)
        else:
            items, characters = weigh(repeated)
            refuse_items(items * count)
            refuse_text(characters * count)
    return left * right


def plus(left: Operand, right: Operand) -> Operand:
    """`left + right`."""
    if isinstance(left, str) and isinstance(right, str):
        refuse_text(len(left) + len(right))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        one, other = weigh(left), weigh(right)
        refuse_items(one[0] + other[0])
        refuse_text(one[1] + other[1])
    return left + right


def power(base: Operand, exponent: Operand) -> Operand:
    """`base ** exponent`."""
    if isinstance(base, int) and isinstance(exponent, int) and (base.bit_length() - 1) * abs(exponent) > MAX_BITS:
        raise _too_long("the power", MAX_BITS, "bits")
    found = base**exponent
    if isinstance(found, complex):
        raise ExpressionError("a negative number has no root")
    return times(found, 1)


def modulo(left: Operand, right: Operand) -> Operand:
    """`left % right`, of numbers."""
    if isinstance(left, str):
        raise ExpressionError("% formats no text here; use an f-string")
    return left % right


def finite(value: Operand) -> Operand:
    """The value, if it is not a float beyond all bounds: that would decide something without a word."""
    if type(value) is float and not isfinite(value):
        raise ExpressionError("the number is too large for a float")
    return value


# -- functions ------------------------------------------------------------------------------------------------


def float_of(value: Operand = 0.0) -> float:
    """`float(value)`: of text that says NaN or infinity a comparison would make something without a word."""
    number = float(value)
    if not isfinite(number):
        raise ExpressionError(f"{shown(value)} is not a finite number")
    return number


def rounded(number: Operand, ndigits: Operand = None) -> Operand:
    """`round(number, ndigits)`: of an integer, the places before the point are a power of ten."""
    if ndigits is not None and abs(ndigits) > MAX_DIGITS:
        raise ExpressionError(f"`round` rounds to at most {MAX_DIGITS} places")
    return round(number, ndigits)


def total(values: Iterable[Operand], start: Operand = 0) -> Operand:
    """`sum(values, start)`: of lists it would take quadratic time."""
    if not isinstance(start, int | float | timedelta):
        raise ExpressionError("`sum` adds numbers; join texts with `join`, and lists with a comprehension")
    return sum(values, start)


def integer_of(value: Operand = 0, base: int = 10) -> Operand:
    """`int(value, base)`: Python's own limit is on digits of base 10 alone."""
    if isinstance(value, str):
        if len(value) > MAX_BITS // 5:
            raise _too_long("the integer", MAX_BITS, "bits")
        return int(value, base)
    return int(value)


def text_of(value: object = "") -> str:
    """`str(value)`: written out, a text among others may get longer (quotes, escapes)."""
    made = str(value if isinstance(value, str) else weighed(value))
    refuse_text(len(made))
    return made


def _gathered(kind: type, values: Iterable[Operand]) -> Operand:
    if isinstance(values, Sized):
        refuse_items(len(values))
    made = kind(values)
    if isinstance(values, GeneratorType):
        weigh(made)
    return made


def list_of(values: Iterable[Operand] = ()) -> Operand:
    """`list(values)`."""
    return _gathered(list, values)


def tuple_of(values: Iterable[Operand] = ()) -> Operand:
    """`tuple(values)`."""
    return _gathered(tuple, values)


def set_of(values: Iterable[Operand] = ()) -> Operand:
    """`set(values)`."""
    return _gathered(set, values)


def sorted_of(values: Iterable[Operand], *, reverse: bool = False) -> Operand:
    """`sorted(values, reverse=...)`."""
    made = _gathered(list, values)
    made.sort(reverse=reverse)
    return made


# -- methods, called with their object first ------------------------------------------------------------------


def replace(target: Operand, *arguments: Operand, **keywords: Operand) -> Operand:
    """`text.replace(old, new)`, or a date's."""
    if isinstance(target, str) and len(arguments) >= 2:
        old, new = arguments[:2]
        if len(new) > len(old):
            refuse_text(len(target) + target.count(old) * (len(new) - len(old)))
    return target.replace(*arguments, **keywords)


def join(separator: Operand, values: Iterable[Operand]) -> Operand:
    """`separator.join(values)`."""
    parts = list(values)
    if all(type(part) is str for part in parts):
        refuse_text(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def split(text: Operand, sep: Operand = None, maxsplit: Operand = -1) -> Operand:
    """`text.split(sep, maxsplit)`."""
    if len(text) > MAX_ITEMS and maxsplit < 0:
        refuse_items(text.count(sep) if sep is not None else len(text) // 2)
    return text.split(sep, maxsplit)


def _stripping(name: str) -> Any:
    def strip(text: Operand, characters: Operand = None) -> Operand:
        if characters is not None and len(characters) > MAX_STRIPPED:
            raise ExpressionError(f"`{name}` takes away at most {MAX_STRIPPED} characters")
        return getattr(text, name)(characters)

    return strip


strip, lstrip, rstrip = _stripping("strip"), _stripping("lstrip"), _stripping("rstrip")


def shown(value: object) -> str:
    """A value as a message quotes it, without looking at more of it than is shown."""
    if isinstance(value, NESTED):
        return f"{type(value).__name__} of {len(value):,}"
    return repr(value[:80]) if isinstance(value, str) else f"{value!r:.80}"
