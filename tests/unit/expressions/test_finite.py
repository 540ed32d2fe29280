"""NaN and infinities do not decide within an expression: they fail where they come up."""

from __future__ import annotations

import pyarrow as pa
import pytest

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.columns.vectorised import TableExpression
from papyra_flow.expressions.compiled import compile_choice, compile_expression, compile_filter


@pytest.mark.parametrize(
    "text",
    ["float('nan') > 1", "float(x) > 1", "1 if float('-inf') < 0 else 0", "max(float('Infinity'), 1)",
     "float('1e400') > 1", "(-8) ** 0.5 == 1", "n ** 0.5 == 1"],
)  # fmt: skip
def test_what_is_not_finite_is_a_failure(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"not a finite number|no root"):
        compile_expression(text).one({"x": "nan", "n": -4})


@pytest.mark.parametrize("text", ["n > 1e400", "-1e999 < n", "n * 1e309"])
def test_a_constant_that_is_infinite_is_refused_when_the_file_is_loaded(text: str) -> None:
    with pytest.raises(ValueError, match="a number is too large for a float"):
        compile_expression(text)


LARGE = {"x": 1e308, "y": -1e308, "n": 10, "xs": [1e308, 1e308], "small": 1e-300}


@pytest.mark.parametrize(
    "text",
    ["x * n > 3", "sum(xs) > 3", "sum(v * 2 for v in xs) > 3", "x + x > 3", "y - x < 0", "x / small > 3",
     "x // small > 3", "n / (x * n)", "n % (x * 10.0)", "5 // (x + x)", "-(x * n) < 0", "(x * n) * 0.5 - 1 > 3",
     "f'{x * n}'", "str(x * n)", "1 if x * n else 2", "x * n or 3", "not x * n", "max(v * 10 for v in xs) > 3",
     "max([x * n, 1]) > 3",
     "[v for v in xs if v * 10 > 3]", "(n if n < 3 else x * n) > 3", "max(x * n, 1) > 3", "n ** -(x * n) == 0",
     "{'a': x * n}.a > 3", "sum([x, x], x) > 3", "x * 1.5 + x * 1.5 > x"],
)  # fmt: skip
def test_what_grows_beyond_a_float_is_a_failure_where_it_would_decide_something(text: str) -> None:
    with pytest.raises(ExpressionError, match="the number is too large for a float"):
        compile_expression(text).one(LARGE)


@pytest.mark.parametrize("text", ["x * n", "sum(xs)", "x + x", "-(x * n)"])
def test_a_condition_that_grows_beyond_a_float_is_a_failure(text: str) -> None:
    for compiled in (compile_filter(text), compile_choice([(1, text)], 0)):
        with pytest.raises(ExpressionError, match="the number is too large for a float"):
            compiled.one(LARGE)


@pytest.mark.parametrize("text", ["x * n > 3", "1 / (x + x) > 3", "x * n"])
def test_in_tables_it_is_as_in_records(text: str) -> None:
    expression = TableExpression(text)
    with pytest.raises(ExpressionError, match="the number is too large for a float"):
        expression.mask(pa.table({"x": [1.0, 1e308], "n": [10.0, 10.0]}))
    assert expression.mask(pa.table({"x": [1.0], "n": [10.0]})).to_pylist() == [text != "1 / (x + x) > 3"]


def test_text_lists_and_whole_numbers_of_any_size_are_no_concern() -> None:
    large = {"i": 10**200, "t": "ab", "l": [1], "n": 3}
    text = "[i * i * i > 0, t * n == 'ababab', l + l == [1, 1], sum([i, i]) > i, len(t + t) + 1 > 4]"
    assert compile_expression(text).one(large) == [True] * 5


def test_finite_numbers_are_what_they_were() -> None:
    assert compile_expression("[float('1e308'), float(n), float('-0'), (-8) ** 2, n ** -1]").one({"n": 4}) == [
        1e308, 4.0, -0.0, 64, 0.25
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["2 ** 200_000", "n ** 200_000", "n ** -200_000"])
def test_a_power_that_is_too_large_is_refused_before_it_is_computed(text: str) -> None:
    with pytest.raises(ExpressionError, match="the power would have more than"):
        compile_expression(text).one({"n": 7})
