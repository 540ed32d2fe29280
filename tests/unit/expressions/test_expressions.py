"""Expressions: what they mean, what they may not say, and what a user is told."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.compiled import compile_expression, compile_fields, explain
from papyra_flow.records.entries import Record

RECORD: Record = {
    "n": 7, "name": "Ada Lovelace", "tags": ["a", "b"], "airport": {"lat": 40.5, "items": 3}, "none": None,
    "when": "2013-01-31T12:00:00", "a b": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n > 5 and n < 10", True),
        ("n if n > 5 else 0", 7),
        ("airport.lat", 40.5),
        ("airport['lat']", 40.5),
        ("airport.items", 3),
        ("record['a b']", 1),
        ("get('missing', 3)", 3),
        ("has('n') and not has('m')", True),
        ("coalesce(none, get('m'), 2)", 2),
        ("name.lower().split(' ')[0]", "ada"),
        ("f'{name:>14}|{n:03}'", "  Ada Lovelace|007"),
        ("matches('^Ada', name)", True),
        ("[t.upper() for t in tags if t != 'a']", ["B"]),
        ("{t: n for t in tags}", {"a": 7, "b": 7}),
        ("sum(x * 2 for x in [1, 2])", 6),
        ("datetime(when).isoformat()", "2013-01-31T12:00:00+00:00"),
        ("date(when[:10]) > date('2013-01-01')", True),
        ("round(n / 3, 2)", 2.33),
        ("-n % 4 + 2 ** 3", 9),
        ("name in ('Ada Lovelace', 'x')", True),
        ("none is None", True),
        ("name[-8:]", "Lovelace"),
        ("max(n, 9)", 9),
        ("'-' * 3", "---"),
    ],
)
def test_an_expression_means_what_python_means(text: str, value: object) -> None:
    assert compile_expression(text).one(RECORD) == value


@pytest.mark.parametrize(
    "text",
    [
        "name.__class__", "().__class__.__bases__", "name._private", "__import__('os')", "_r", "_power(2, 3)",
        "open('/etc/passwd')", "eval('1')", "exec('x')", "getattr(name, 'x')", "globals()", "type(n)", "vars()",
        "name.format(n)", "'{0.__class__}'.format(n)", "name.format_map(record)", "name.encode()",
        "lambda: 1", "(x := 3)", "[*tags]", "f(*tags)", "max(**record)", "await n", "yield n", "import os", "n; n",
        "f'{n:{n}}'", "f'{n:9999}'", "print(n)", "range(10)", "...", "n @ n", "n << 3", "[x for x in _r]",
        "[_x for _x in tags]", "__builtins__", "name.replace.__self__", "record.__class__", "",
        "async_x for x in y", "n if", "match n: 1",
    ],
)  # fmt: skip
def test_what_could_reach_beyond_the_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        compile_expression(text)


@pytest.mark.parametrize("text", ["get('__class__')", "record['__class__']", "airport['__class__']", "'__class__'"])
def test_underscored_words_are_but_words_to_a_record(text: str) -> None:
    with suppress(KeyError):
        assert compile_expression(text).one(RECORD) in {None, "__class__"}


@pytest.mark.parametrize(
    "text", ["2 ** 10 ** 10", "n ** 100000", "name * 10 ** 9", "tags * (10 ** 8)", "'%s' % record", "'%999999999d' % n"]
)
def test_what_would_eat_the_memory_is_refused_when_it_happens(text: str) -> None:
    with pytest.raises((ExpressionError, ValueError)):
        compile_expression(text).one(RECORD)


def test_a_misspelt_function_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean round"):
        compile_expression("ruond(n)")


def test_fields_are_made_at_once_from_the_record_as_it_came() -> None:
    swap = compile_fields({"a": "b", "b": "a"}, keep=True).one
    assert swap({"a": 1, "b": 2, "c": 3}) == {"a": 2, "b": 1, "c": 3}
    assert compile_fields({"x": "a + b"}, keep=False).one({"a": 1, "b": 2}) == {"x": 3}


def test_a_failure_names_the_field_and_the_expression() -> None:
    with pytest.raises(KeyError) as caught:
        compile_expression("delay > 60").one({})
    assert str(explain("delay > 60")(caught.value)) == "the record has no field 'delay' (in `delay > 60`)"


@given(st.text(max_size=60))
def test_any_text_compiles_or_is_refused_with_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert compile_expression(text)


def test_deep_nesting_is_refused() -> None:
    for text in ("(" * 300 + "n" + ")" * 300, "-" * 3000 + "n", "n" + ".a" * 2000):
        with pytest.raises(ValueError, match=r"nested too deeply|not a|longer"):
            compile_expression(text)
