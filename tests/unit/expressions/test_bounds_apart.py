"""Bounds that another one stands behind: without them a record is refused, too, but when it has cost too much."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.bounds import MAX_TEXT
from papyra_flow.expressions.compiled import compile_expression

RECORD: dict[str, Any] = {
    "big": 10**400, "long": "x" * 8_000_000, "zeros": "\0" * 6_000_000, "many": list(range(200_000)),
    "items": list(range(2000)), "n": 7,
}  # fmt: skip
SIX = "[items, items, items, items, items, items]"


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("[" + ",".join([SIX] * 90) + "]", "items"),
        ("[2 ** 90000] * 10000", "characters"),
        ("(0 - big) * " + " * ".join(["big"] * 400), "bits"),
        ("[len(u + u) for u in [long * 2]]", "characters"),
        ("str([zeros])", "characters"),
    ],
    ids=["a list of lists", "a list of integers", "a negative integer", "a text in a loop", "a text with escapes"],
)
def test_what_is_too_much_is_refused(text: str, bound: str) -> None:
    with pytest.raises(ExpressionError, match=bound):
        compile_expression(text).one(RECORD)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("+".join(["long"] * 100), "characters"), ("+".join(["many"] * 400), "items"),
        ("str([" + "long," * 60 + "])", "characters"),
    ],
    ids=["a sum of texts", "a sum of lists", "a list as text"],
)  # fmt: skip
def test_what_is_too_much_is_refused_before_it_is_made(text: str, bound: str) -> None:
    """The memory that it takes tells."""
    compiled = compile_expression(text)
    tracemalloc.start()
    try:
        with pytest.raises(ExpressionError, match=bound):
            compiled.one(RECORD)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * MAX_TEXT
