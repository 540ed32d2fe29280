"""Expressions over tables mean what they mean over records, whichever way they are evaluated."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.columns import vectorised
from papyra_flow.expressions.columns.vectorised import TableExpression
from papyra_flow.expressions.compiled import compile_expression

EXPRESSIONS = [
    "n",
    "-n",
    "n + m",
    "n - 1",
    "n * m",
    "n / m",
    "n // m",
    "n % m",
    "n % 7 == 3",
    "n ** 2",
    "abs(n)",
    "round(x)",
    "n + x",
    "x / 2",
    "x // 2",
    "n > 3",
    "n >= m and m != 0",
    "m != 0 and n / m > 1",
    "n < m < 10",
    "n == m",
    "n != None",
    "n is None",
    "n is not None and n > 2",
    "n is None or n > 2",
    "not n",
    "not (n > 2 or s)",
    "n in (1, 2, 3)",
    "n not in [1, None]",
    "s in ('a', 'b')",
    "'a' in s",
    "s + s",
    "s + '-' + str(n)",
    "f'{s}:{n}'",
    "f'{x}'",
    "len(s)",
    "s.upper()",
    "s.lower() == s",
    "s.startswith('a')",
    "s.strip()",
    "s == 'a'",
    "s > 'b'",
    "s == n",
    "n == x",
    "b",
    "not b",
    "b and n",
    "b == True",
    "b + 1",
    "int(x)",
    "float(n)",
    "int(s)",
    "float(s)",
    "bool(s)",
    "coalesce(n, 0)",
    "coalesce(n, m, 7)",
    "max(n, m)",
    "min(n, 2, m)",
    "n if b else m",
    "1 / n if n else 0",
    "has('n')",
    "s if b else n",
    "get('n', 5)",
    "get('none', 5)",
    "n if n is not None else -1",
    "has('none')",
    "none",
    "[n, m]",
    "sum([n, 1])",
    "record['n']",
    "len(record)",
    "n and m",
    "n or m",
    "n > 1 if b else s",
    "True",
    "'text'",
    "None",
    "n * 1.5",
    "matches('^a', s)",
    "n in (1, 'a')",
    "b is None",
    "x is not None and x > 0.5 or n == 1",
    "(n > 1) == b",
    "x == x",
]
whole = st.none() | st.integers(-5, 5)
ROWS = st.lists(
    st.fixed_dictionaries({
        "n": whole,
        "m": whole,
        "x": st.none() | st.floats(-10, 10, width=16),
        "s": st.none() | st.sampled_from(["", "a", "b", "Ab", "12", " 7", "ä", "é%"]),
        "b": st.none() | st.booleans(),
    }),
    min_size=1,
    max_size=6,
)  # fmt: skip
SCHEMA = pa.schema([("n", pa.int64()), ("m", pa.int64()), ("x", pa.float64()), ("s", pa.string()), ("b", pa.bool_())])


@pytest.mark.parametrize("text", EXPRESSIONS)
@given(rows=ROWS)
def test_an_expression_means_the_same_on_a_table_as_on_its_records(text: str, rows: list[dict[str, Any]]) -> None:
    table, one = pa.Table.from_pylist(rows, SCHEMA), compile_expression(text).one
    try:
        expected = [one(row) for row in rows]
    except Exception:  # noqa: BLE001 - whatever it is
        with pytest.raises(ExpressionError):
            TableExpression(text).mask(table)
        with pytest.raises(ExpressionError):
            TableExpression(text).values(table)
        return
    assert TableExpression(text).mask(table).to_pylist() == list(map(bool, expected))
    try:
        pa.array(expected)
    except (pa.ArrowException, TypeError):
        return  # no column
    assert TableExpression(text).values(table).to_pylist() == expected


KERNELS = [
    "n % 7 != 3",
    "n > 3 and s == 'a'",
    "n + m",
    "n // m",
    "s + '!'",
    "n in (1, 2)",
    "n if n > 2 else m",
    "len(s)",
    "m != 0 and n / m > 1",
    "f'{s}:{n}'",
    "not n > 2",
    "t.u + 1",
    "max(n, m)",
    "n is not None",
    "'a' in s",
    "1 < n < 3",
]


@pytest.mark.parametrize("text", KERNELS)
def test_ordinary_expressions_never_look_at_single_rows(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": [1, 2, 3], "m": [2, 1, 1], "s": ["a", "b", "a"], "t": [{"u": 1}, {"u": 2}, {"u": 3}]})
    expected = [compile_expression(text).one(row) for row in table.to_pylist()]
    monkeypatch.setattr(vectorised.TableExpression, "_rows", lambda self, table: pytest.fail("looked at rows"))
    assert TableExpression(text).values(table).to_pylist() == expected


def test_what_stands_behind_and_is_asked_only_of_the_rows_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"n": [None, 5, 0], "m": [1, 0, 2]})
    monkeypatch.setattr(vectorised.TableExpression, "_rows", lambda self, table: pytest.fail("looked at rows"))
    assert TableExpression("n is not None and n > 2").mask(table).to_pylist() == [False, True, False]
    assert TableExpression("m == 0 or 4 / m > 2").mask(table).to_pylist() == [True, True, False]
    assert TableExpression("4 // m if m else -1").values(table).to_pylist() == [4, -1, 2]


def test_a_failure_names_the_field_and_the_expression() -> None:
    with pytest.raises(ExpressionError, match=r"the record has no field 'nowhere' \(in `nowhere > 1`\)"):
        TableExpression("nowhere > 1").mask(pa.table({"n": [1]}))
