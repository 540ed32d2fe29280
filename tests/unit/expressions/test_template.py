"""`${VAR}` in an expression is a value, whatever its text is."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.config.variables import Variables
from papyra_flow.expressions.compiled import compile_expression


def value(text: str, values: dict[str, str], **record: Any) -> object:
    expression = Variables(values, Path()).substitute(text).as_expression()
    return compile_expression(expression).one(record)


NASTY = st.text(min_size=1, max_size=30) | st.sampled_from([
    "O'Brien", '"', "\\", "' or True or '", '" or 1 or "', "x') or matches('', '", "{n}", "${A}", "{", "}}", "\n", "#",
    "'''", "__import__('os')", "%s", "$", "\\'", "\ua500", "0\ua501", "]", ")", "N", "None", "True", "1_000", "007",
    "inf",
])  # fmt: skip


@given(NASTY)
def test_a_text_is_that_text_however_it_stands_there(text: str) -> None:
    values = {"V": text}
    for quoted in ("'${V}'", '"${V}"', "'''${V}'''", "f'${V}'", "str('${V}')"):
        assert value(quoted, values) == text
    assert value("'<${V}> ${V}'", values) == f"<{text}> {text}"
    assert value("f'<${V}>{n:03}'", values, n=7) == f"<{text}>007"
    assert value("name == '${V}'", values, name=text) is True
    assert value("{'${V}': 1}['${V}']", values) == 1
    assert value("record['${V}']", values, **{text: 5}) == 5
    assert value("[c for c in ['${V}'] if c == '${V}']", values) == [text]


@given(NASTY)
def test_outside_of_quotes_it_is_what_json_makes_of_it_or_that_text(text: str) -> None:
    found = value("${V}", {"V": text})
    words: dict[str, object] = {"true": True, "false": False, "null": None}
    if isinstance(found, str) or text in words:
        assert found == words.get(text, text)
    else:
        assert found == ast.literal_eval(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("-5", -5), ("2.5", 2.5), ("1e3", 1000.0), ("true", True), ("null", None), ("007", "007"), ("0", 0),
     ("1_000", "1_000"), ("+5", "+5"), (" 5", " 5"), ("0x10", "0x10"), ("NaN", "NaN"), ("True", "True"),
     ("5 or 1", "5 or 1")],
)  # fmt: skip
def test_numbers_and_words_are_those_of_json(text: str, expected: object) -> None:
    found = value("${V}", {"V": text})
    assert (type(found), found) == (type(expected), expected)
    assert value("n > ${V}", {"V": "5"}, n=7) is True
    assert value("n - ${V}", {"V": "-5"}, n=7) == 12


@pytest.mark.parametrize(
    "text",
    ["n ${V} 5", "${V}(n)", "n.${V}", "n.${V}()", "x${V} > 1", "${V}${V}", "[0 for ${V} in n]", "max(n, ${V}=1)",
     "n + ${V",  "f'{n:${V}}'", "5${V}"],
)  # fmt: skip
@pytest.mark.parametrize("words", ["+ 1 +", "upper", "1", "len", "9999"])
def test_a_value_is_never_a_piece_of_the_program(text: str, words: str) -> None:
    if words == "1" and text == "f'{n:${V}}'":
        return  # a format is text
    with pytest.raises((ValueError, KeyError)):
        value(text, {"V": words}, n=3)


def test_what_is_told_shows_the_text_as_it_was_written_and_not_the_value() -> None:
    with pytest.raises(ValueError, match="character") as caught:
        value("n > '${PASSWORD}' and and", {"PASSWORD": "hunter22"})
    assert "hunter22" not in str(caught.value)
    assert "character 23" in str(caught.value)
    with pytest.raises(ValueError, match="unknown function") as caught:
        value("n[${PASSWORD}](1)", {"PASSWORD": "hunter22"})
    assert str(caught.value) == "unknown function '`n[${PASSWORD}]`'"
