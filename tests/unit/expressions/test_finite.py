"""NaN and infinities do not decide within an expression: they fail where they come up."""

from __future__ import annotations

import pytest

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.compiled import compile_expression


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


def test_finite_numbers_are_what_they_were() -> None:
    assert compile_expression("[float('1e308'), float(n), float('-0'), (-8) ** 2, n ** -1]").one({"n": 4}) == [
        1e308, 4.0, -0.0, 64, 0.25
    ]  # fmt: skip
