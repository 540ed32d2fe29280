"""Names in expressions follow Python's scopes, on records, in all kinds of steps, and on tables."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.expressions.columns.vectorised import TableExpression
from papyra_flow.expressions.compiled import compile_choice, compile_expression, compile_fields, compile_filter

RECORD: dict[str, Any] = {"n": 3, "a": [1, 2, 3], "b": [[1, 2], [3]], "c": {"x": 1, "y": 2}, "s": "text"}
BUILTINS = {"sum": sum, "len": len, "sorted": sorted, "str": str, "max": max, "list": list, "any": any}

names = st.sampled_from(["n", "a", "b", "c", "s", "x"])
atoms = names | st.sampled_from(["1", "2", "'t'", "a[0]", "[]", "c['x']"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    loop = st.builds("for {} in {}".format, names, inner)
    tested = st.builds("{} if {}".format, loop, inner)
    loops = st.lists(loop | tested, min_size=1, max_size=2).map(" ".join)
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "*", "==", "<", "and", "or", "in"]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("[{} {}]".format, inner, loops),
        st.builds("{{{}: {} {}}}".format, names, inner, loops),
        st.builds("sum({} {})".format, inner, loops),
        st.builds("any({} {})".format, inner, loops),
        st.builds("sorted({})".format, inner),
        st.builds("len({})".format, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("f'{{{}}}-'".format, names),
    )


expressions = st.recursive(atoms, _larger, max_leaves=8)


@settings(deadline=None, max_examples=400)
@given(expressions)
def test_an_expression_is_what_python_makes_of_it(text: str) -> None:
    try:
        compiled = compile_expression(text)
    except ValueError as exc:
        if not re.search(r"is used before its `for`", str(exc)):
            raise
        return
    try:
        expected = eval(text, {"__builtins__": {}, **BUILTINS, **RECORD})  # what Python says is what is asked
    except Exception as exc:  # noqa: BLE001 - whatever Python does not do is a failure
        with pytest.raises((KeyError, type(exc))):  # a name that is not there is a field that is not there
            compiled.one(dict(RECORD))
        return
    found = compiled.one(dict(RECORD))
    assert (type(found), found) == (type(expected), expected)
    assert compiled.over([dict(RECORD)] * 2) == [expected] * 2


SAME_NAMES = [
    ("sum(amount for amount in amount)", 3),
    ("[amount + 1 for amount in amount if amount > 1]", [3]),
    ("{amount: len(o) for amount in amount for o in [other]}", {1: 2, 2: 2}),
    ("sum(sum(other for other in amount) for amount in [amount, amount])", 6),
    ("[[amount for amount in amount] for other in other]", [[1, 2], [1, 2]]),
    ("[record for record in other]", ["p", "q"]),
    ("[headers for headers in other]", ["p", "q"]),
]


@pytest.mark.parametrize(("text", "value"), SAME_NAMES)
def test_a_loop_over_a_field_of_its_own_name_means_the_same_wherever_it_stands(text: str, value: Any) -> None:
    record: dict[str, Any] = {"amount": [1, 2], "other": ["p", "q"]}
    assert compile_expression(text).one(record) == value
    assert compile_filter(text).one(record) is (record if value else None)
    assert compile_fields({"f": text}, keep=False).one(record) == {"f": value}
    assert compile_choice([(4, text)], -1).one(record) == 4
    if not isinstance(value, dict):
        assert TableExpression(text).values(pa.Table.from_pylist([record])).to_pylist() == [value]


@pytest.mark.parametrize(
    "text", ["[x for y in a for x in x]", "[y for x in a if y for y in b]", "[0 for x in a for y in [y]]"]
)
def test_a_name_that_its_loop_binds_later_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="used before its `for`"):
        compile_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "[0 for record['n'] in a]", "[0 for n.x in a]", "[0 for [*n] in b]", "[0 for _w in a]", "[0 for (_r, x) in b]",
        "[x async for x in a]", "(x for x in a)", "x for x in a",
    ],
)  # fmt: skip
def test_a_loop_binds_names_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        compile_expression(text)


def test_a_loops_name_that_hides_a_function_is_told() -> None:
    with pytest.raises(ValueError, match="'len' is shadowed by a loop's variable"):
        compile_expression("[len(len) for len in a]")
    assert compile_expression("[len for len in len]").one({"len": [1]}) == [1]
