"""Whatever an expression does with a record is bounded in time and memory, and the bound is named."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions import bounds, loops, plain
from papyra_flow.expressions.compiled import compile_expression

LONG = "x" * 1_000_000
RECORD: dict[str, Any] = {
    "n": 7, "big": 10**400, "name": "Ada", "long": LONG, "items": list(range(2000)), "texts": ["a"] * 2000,
    "nested": [[1, 2], [3]], "nothing": None, "ones": "1" * 2_000_000, "spaces": " " * 5_000_000, "same": LONG,
}  # fmt: skip

TOO_MUCH = [
    ("2 ** 10 ** 10", "bits"), ("n ** 100000", "bits"), ("2 ** (10 ** 6)", "bits"), ("big ** 1000", "bits"),
    (" * ".join(["big"] * 400), "bits"),
    ("name * 10 ** 9", "characters"), ("'-' * n * 10000 * 10000", "characters"), ("100 * long", "characters"),
    ("long * 10 * 10", "characters"), ("items * 10 ** 6", "items"), ("[long] * 20", "characters"),
    ("+".join(["long"] * 100), "characters"), ("f'" + "{long}" * 100 + "'", "characters"),
    ("[" + "long," * 100 + "]", "characters"), ("{'a': [" + "long," * 100 + "]}", "characters"),
    ("round(n, 10 ** 9)", "places"), ("round(n, -(10 ** 9))", "places"), ("round(n, -big)", "places"),
    ("int(ones, 2)", "bits"), ("int(ones, base=16)", "bits"), ("[int(ones, 36) for t in texts]", "bits"),
    ("sum(nested, [])", "adds numbers"), ("sum(texts, '')", "adds numbers"), ("sum(nested, start=[])", "adds numbers"),
    ("long.replace('x', long)", "characters"), ("name.replace('', long * 5)", "characters"),
    ("long.join(texts)", "characters"), ("','.join(long for t in texts)", "characters"),
    ("long.join(items)", "expected str"), ("spaces.split(' ')", "items"), ("list(spaces)", "items"),
    ("sorted(spaces)", "items"),
    ("long.strip(same)", "takes away"),
    ("[a for a in items for b in items for c in items]", "steps"), ("sum(1 for a in items for b in items)", "steps"),
    ("[a for a in items if a in items]", "steps"), ("any(a == -1 for a in items for b in items)", "steps"),
    ("[[b for b in items] for a in items]", "items|steps"), ("{a: [b for b in items] for a in items}", "items|steps"),
    ("[long for t in texts]", "characters"), ("list(long for t in texts)", "characters"),
    ("[long + t for t in texts]", "characters"), ("[long.upper() for t in texts]", "characters"),
    ("[f'{long}' for t in texts]", "characters"), ("[long[1:] for t in texts]", "characters"),
    ("[long.count('x') for a in texts for b in texts]", "steps"),
    ("[1 for t in texts for u in texts if long == same]", "steps"),
    ("[2 ** 90000 + i for i in items for j in items]", "characters|steps"),
    ("str([long, [long]] * 9)", "characters"),
    ("[x + x for x in " * 30 + "[long]" + "]" * 30, "characters|steps"),
    ("[(x, x) for x in " * 40 + "texts" + "]" * 40, "items|steps"),
    ("str([" * 60 + "'\\\\'" + "])" * 60, "characters"),
    ("'%s' % record", "formats no text"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "bound"), TOO_MUCH, ids=lambda part: part[:40])
def test_what_would_eat_time_or_memory_is_refused_and_the_bound_is_named(text: str, bound: str) -> None:
    with pytest.raises((ExpressionError, TypeError), match=bound):
        compile_expression(text).one(RECORD)


@pytest.mark.parametrize("text", ["int('9' * 10 ** 6)", "str(2 ** 90000)", "f'{2 ** 90000}'"])
def test_integers_of_many_digits_are_neither_read_nor_written(text: str) -> None:
    assert 0 < sys.get_int_max_str_digits() <= 30_000, "int() and str() take quadratic time"
    with pytest.raises(ValueError, match="4300 digits"):
        compile_expression(text).one({})


@pytest.mark.parametrize(
    "text", ["f'{n:9999}'", "f'{n:.9999f}'", "f'{n:{n}}'", "f'{n:>1000000000}'", "date(d).strftime('%9999Y')",
             "f'{date(d):%99999999d}'"]
)  # fmt: skip
def test_a_format_is_at_most_999_wide(text: str) -> None:
    with pytest.raises(ValueError, match="999 wide"):
        compile_expression(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sum(a for a in items)", 1999000), ("len([a for a in items if a in (1, 2)])", 2),
        ("len({a: b for a in items[:30] for b in items[:30]})", 30), ("len(long + same)", 2_000_000),
        ("'-' * 1000", "-" * 1000), ("len(','.join(texts))", 3999), ("len(long.replace('x', 'yz'))", 2_000_000),
        ("round(n, -1)", 10), ("len([t + u for t in texts[:200] for u in texts[:200]])", 40_000),
        ("len(spaces.strip())", 0), ("max(len(t) for t in texts)", 1), ("2 ** 64", 2**64),
        ("int('ff', 16) + int(2.5) + int('7')", 264),
    ],
)  # fmt: skip
def test_what_is_within_the_bounds_is_done(text: str, value: object) -> None:
    assert compile_expression(text).one(RECORD) == value


SMALL: dict[str, Any] = {"n": 9, "s": "abcdefgh" * 4, "a": [1, 2, "x"], "b": [["y"] * 5] * 5, "d": {"k": "v" * 20}}
leaves = st.sampled_from(["n", "s", "a", "b", "d", "'-'", "3", "17", "[]", "record", "t"])


def _growing(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "*", "**", "|", "%"]), inner),
        st.builds("[{} for t in {}]".format, inner, inner),
        st.builds("[{} for t in {} for t in {}]".format, inner, inner, inner),
        st.builds("{{str(t): {} for t in {}}}".format, inner, inner),
        st.builds("list({} for t in {})".format, inner, inner),
        st.builds("str({}).replace('a', str({}))".format, inner, inner),
        st.builds("str({}).join({})".format, inner, inner),
        st.builds("str({}).split(str({}))".format, inner, inner),
        st.builds("[{0}, {0}, {0}, {0}]".format, inner),
        st.builds("({0}, {0})".format, inner),
        st.builds("str({})".format, inner),
        st.builds("sorted({})".format, inner),
        st.builds("round(n, {})".format, inner),
    )


@settings(deadline=None, max_examples=300)
@given(st.recursive(leaves, _growing, max_leaves=14))
def test_no_expression_makes_more_than_the_bounds(text: str) -> None:
    record = {**SMALL, "t": "tt"}
    of_record = sum(bounds.weigh(record))
    with patch.multiple(bounds, MAX_TEXT=4000, MAX_ITEMS=1000), patch.multiple(loops, MAX_STEPS=5000, LOOP_TEXT=9000):
        try:
            value = compile_expression(text).one(record)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - refused, or not what Python can do
            return
    items, characters = bounds.weigh(value)
    assert items <= max(1000, plain.MOST_GROWTH * of_record), text
    assert characters <= max(9000, plain.MOST_GROWTH * of_record), text
