r"""`matches` is linear, and finds what Python's `re` finds."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions import patterns
from papyra_flow.expressions.compiled import compile_expression
from papyra_flow.expressions.patterns import matches

TEXTS = ["", "a", "ab 12", "ä", "ÄRZTE kommen", "x_y", "١٢", "ab\n", "a\nb", "\x1c", "\x85", " ", "a\x00b", "[x]",
         "{,2}", "aaa", "Öl kaufen", "café error", "a-b", "$", "😀", "\u2028", "_ä", "é_"]  # fmt: skip
pieces = st.sampled_from([
    "a", "b", " ", "ä", ".", r"\w", r"\d", r"\s", r"\W", r"\D", r"\S", "[ab]", "[^a]", r"[\w-]", r"[^\w]", r"[\d\s]",
    "$", "^", r"\A", r"\Z", "1", "[]x]", "[^]x]", "[[]", r"\[", "[$]", r"\$", r"\.", "(?:ab)", "x", "_", "[a-z]",
    r"\u00e4",    r"[\b]", r"\x41", r"\-",
])  # fmt: skip
ordinary = st.lists(
    st.builds("{}{}".format, pieces, st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{,2}", "{1,}", "*?"])),
    min_size=1, max_size=5,
).map("".join)  # fmt: skip


def in_python(pattern: str, text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.search(pattern, text) is not None


@settings(deadline=None, max_examples=500)
@given(st.lists(ordinary, min_size=1, max_size=2).map("|".join), st.sampled_from(TEXTS) | st.text(max_size=6))
def test_ordinary_patterns_find_what_python_finds(pattern: str, text: str) -> None:
    try:
        expected = in_python(pattern, text)
    except re.error:
        return
    try:
        found = matches(pattern, text)
    except ExpressionError as exc:
        if "repetition" not in str(exc):
            raise
        return
    assert found == expected, (pattern, text)


@settings(deadline=None)
@given(
    st.sampled_from([r"\berror\b", r"\bl", r"l\b", r"\Bf", r"\b\w", r"^\b", r"\w\b\s", r"f\b", r"a\b\W"]),
    st.sampled_from(TEXTS) | st.text("aäfl é€-1", max_size=7),
)
def test_the_ends_of_words_are_where_python_sees_them(pattern: str, text: str) -> None:
    assert matches(pattern, text) == in_python(pattern, text)


def test_ends_of_words_that_cannot_be_known_are_a_failure_of_the_record() -> None:
    assert matches(r"\bÖl\b", "Oil") is False
    with pytest.raises(ExpressionError, match="knows only ASCII"):
        matches(r"\bÖl\b", "Öl kaufen")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)b", "lookaround"), ("(?!a)b", "lookaround"), ("(?<=a)b", "lookaround"), ("(?<!a)b", "lookaround"),
        (r"(a)\1", "backreferences"), ("a++", "bad repetition"), ("(", "missing"), ("[a", "missing"),
        ("a{1001}", "repetition"), ("x" * 5000, "longer than"), (r"\C", "not part of"), (r"[\W]", "inside"),
        ("(?:(?:(?:x{30}){30}){30})", "cannot be used"), ("*", "repetition"), ("\\", "trailing"), ("\ud800", "Unicode"),
    ],
)  # fmt: skip
def test_a_pattern_that_is_not_usable_is_told_when_the_file_is_loaded_or_when_a_field_holds_it(
    pattern: str, reason: str
) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        compile_expression("matches(p, 'x')").one({"p": pattern})
    assert "\n" not in str(caught.value)
    if pattern.isascii() and len(pattern) < 1000:
        with pytest.raises(ValueError, match=reason):
            compile_expression(f"matches({pattern!r}, name)")


@pytest.mark.parametrize("pattern", [r"^(\w+\s?)*$", r"^(a+)+$", r"(a|aa)+$", r"(.*a){12}b", r"(x+x+)+y"])
def test_patterns_that_backtrack_elsewhere_are_linear(pattern: str) -> None:
    assert matches(pattern, "a" * 100_000 + "!") is False


def test_the_patterns_that_records_bring_are_forgotten_again() -> None:
    for number in range(200):
        matches(f"a{number}", "b")
    assert patterns.compiled.cache_info().currsize <= patterns.CACHED


def test_only_text_is_looked_through() -> None:
    with pytest.raises(ExpressionError, match="looks through text, not int"):
        matches("a", 5)  # type: ignore[arg-type]
    with pytest.raises(ExpressionError, match="a pattern is text"):
        matches(5, "a")  # type: ignore[arg-type]
