"""Expressions over several lines, and where they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.expressions.compiled import compile_expression

TOKENS = ["a", "> 1", "and", "(a", "+ 2)", "< 9", "or", "'x y'", "in", "['x y', 'z']"]
BREAKS = st.sampled_from([" ", "\n", "\n  ", "\n\n", "  # why, (so\n", "\n# and\n   "])


@given(st.lists(BREAKS, min_size=len(TOKENS), max_size=len(TOKENS)))
def test_an_expression_may_be_broken_wherever_python_has_a_space(breaks: list[str]) -> None:
    text = "".join(token + gap for token, gap in zip(TOKENS, breaks, strict=True))
    assert compile_expression(text).one({"a": 3}) is True
    assert compile_expression("\n  " + text + "\n").one({"a": 0}) is True
    assert compile_expression("".join(token + " " for token in TOKENS[:6])).one({"a": 0}) is False


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a >", "at character 4"),
        ("a > 1 and and b", "at character 11"),
        ("a > 1\nand and b", "at line 2, character 5"),
        ("a > 1\n\n  and b)\nand c", "at line 3, character 8"),
        ("a > 1)\nand (b", "at line 1, character 6"),
        ("a > 1\nb > 2", "at line 1, character"),
        ("a > 1\nand 'b", "at line 2, character 5"),
        ("(a > 1\nand b", "at line 1, character 1"),
        ("[a > 1\nand b", "at line 1, character 1"),
        ("a\n= 2", "at line "),
    ],
)
def test_an_error_has_its_line_and_character_in_the_text(text: str, place: str) -> None:
    with pytest.raises(ValueError, match="not a Python expression") as caught:
        compile_expression(text)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a) or (b", "a)\nor (b", "1)(2", "1)\n(2", "", "\n", "# only\n", "a, *b", "a\n,*b"])
def test_what_only_brackets_around_it_would_make_an_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        compile_expression(text)


def test_python_says_nothing_about_an_expression_on_the_terminal(recwarn: pytest.WarningsRecorder) -> None:
    assert compile_expression(r"matches('\d', a) and 1 is 1").one({"a": "5"}) is True
    assert list(recwarn) == []
