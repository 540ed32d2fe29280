"""Every type of DuckDB's has the form in a record that the reference promises, or the row is dead with a sentence."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import RecordError
from papyra_flow.records.json_codec import read_json, write_json
from papyra_flow.records.table_rows import Fitness, records_of
from papyra_flow.records.tables import table_of
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.sql import Sql
from papyra_flow.testing import drive
from tests.harness.pipelines import PipelineFolder

CONTEXT: Any = SetupContext.__new__(SetupContext)


def queried(query: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    """What a query makes of records, as JSON has it."""
    table = Sql(query=query).build_table(CONTEXT).apply(table_of(records or [{"n": 2}]))
    Fitness().require(table)
    found: list[dict[str, Any]] = read_json(write_json(records_of(table)))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum(n)", 2),
        ("sum(n * 9223372036854775807::HUGEINT)", 18446744073709551614),
        ("n * 1.19", 2.38),
        ("sum(n * 1.19)", 2.38),
        ("1.5", 1.5),
        ("0.12345678901234567890", "0.12345678901234567890"),
        ("2::DECIMAL(4, 0)", 2),
        ("2.50::DECIMAL(38, 10)", 2.5),
        ("99999999999999999999999999999999999999::HUGEINT", 10**38 - 1),
        ("5::UHUGEINT", 5),
        ("[5::UHUGEINT]", [5]),
        ("'123'::BIGNUM", 123),
        ("18446744073709551615::UBIGINT", 2**64 - 1),
        ("[1.5, 2.25]", [1.5, 2.25]),
        ("INTERVAL 1 MONTH", "P1M"),
        ("INTERVAL '1 year 2 days 3.5 seconds'", "P1Y2DT3.5S"),
        ("INTERVAL '-90 minutes'", "-PT1H30M"),
        ("'ab'::BLOB", "YWI="),
        ("'00000000-0000-0000-0000-000000000001'::UUID", "00000000-0000-0000-0000-000000000001"),
        ("TIME '12:34:56.789'", "12:34:56.789000"),
        ("TIMETZ '12:00:00+02'", "12:00:00+02"),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIMESTAMP '2024-01-01'", "2024-01-01T00:00:00+00:00"),
        ("TIMESTAMP '2024-01-01'::TIMESTAMPTZ", "2024-01-01T00:00:00+00:00"),
        ("TIMESTAMPTZ '2024-01-01 00:00:00+02'", "2023-12-31T22:00:00+00:00"),
        ("TIMESTAMP_NS '2024-01-01 00:00:00.123456789'", "2024-01-01T00:00:00.123456789+00:00"),
        ("TIMESTAMP_S '2024-01-01 00:00:01'", "2024-01-01T00:00:01+00:00"),
        ("[1, NULL]", [1, None]),
        ("{'a b': 1.5, 'c': DATE '2024-01-01', 'd': ['1'::BIT]}", {"a b": 1.5, "c": "2024-01-01", "d": ["1"]}),
        ("MAP {'a': 1.5}", {"a": 1.5}),
        ("MAP {1: '01'::BIT}", {"1": "01"}),
        ("array_value('1'::BIT)", ["1"]),
        ("'x'::ENUM('x', 'y')", "x"),
        ("'0101'::BIT", "0101"),
        ("union_value(k := '1'::BIT)", "1"),
        ("NULL", None),
        ("'{}'::JSON", "{}"),
    ],
)
def test_every_type_of_duckdbs_has_one_form(expression: str, expected: object) -> None:
    assert repr(queried(f"SELECT {expression} AS v FROM batch")) == repr([{"v": expected}])


@pytest.mark.parametrize(
    ("select", "told"),
    [
        ("'nan'::DOUBLE AS v", "the field 'v' is nan, which is not a number that JSON has"),
        ("['inf'::FLOAT] AS v", "the field 'v[]' is inf, which is not a number that JSON has"),
        ("{'a': '-inf'::DOUBLE} AS v", "the field 'v.a' is -inf, which is not a number that JSON has"),
        ("1e400 AS v", "the field 'v' is inf, which is not a number that JSON has"),
        ("n, n", "the query returns two columns called 'n'; name one of them with AS"),
        (
            "170141183460469231731687303715884105727::HUGEINT AS v",
            "the query's column 'v' has a number of more than 38",
        ),
        ("340282366920938463463374607431768211455::UHUGEINT AS v", "Conversion Error: "),
        ("'infinity'::DATE AS v", "the field 'v' holds a date32[day] that Python has no value for"),
        ("TIMESTAMP '-infinity' AS v", "the field 'v' holds a timestamp[us] that Python has no value for"),
        ("'abc'::INT AS v", "Conversion Error: Could not convert string 'abc' to INT32 (in `sql`)"),
        ("nowhere AS v", 'Binder Error: Referenced column "nowhere" not found in FROM clause! (in `sql`)'),
        ("10000000000 * 10000000000 AS v", "Out of Range Error: Overflow in multiplication of INT64"),
    ],
)
def test_what_has_no_form_is_refused_in_one_sentence(select: str, told: str) -> None:
    with pytest.raises(RecordError) as caught:
        queried(f"SELECT {select} FROM batch")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-(10**30), 10**30), min_size=1, max_size=5))
def test_a_sum_of_integers_is_their_sum(numbers: list[int]) -> None:
    assert queried("SELECT sum(n) AS total FROM batch", *({"n": n} for n in numbers)) == [{"total": sum(numbers)}]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York"])
def test_times_are_utc_in_sql_whatever_the_machines_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", zone)
    time.tzset()
    try:
        found = queried("SELECT t::TIMESTAMPTZ AS t, t::DATE AS d FROM batch", {"t": "2024-07-01 23:30:00"})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == [{"t": "2024-07-01T23:30:00+00:00", "d": "2024-07-01"}]


def test_the_forms_hold_through_a_pipeline(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          sums:
            from: in
            process:
              - batch
              - sql: SELECT c, sum(n) AS total, sum(n) * 1.19 AS gross FROM batch GROUP BY c ORDER BY c
              - set: {half: gross / 2, twice: total * 2}
              - filter: total > 1.5
            to: [{stream: big, when: gross > 1e18}, rest]
          out: {from: rest, write: {csv: out.csv}}
        streams: {in: {}, big: {format: fields}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("in", {"c": "a", "n": 2}, {"c": "a", "n": 3}, {"c": "b", "n": 2**63 - 1}, {"c": "b", "n": 2**62})
        assert driver.dead("sums") == []
        assert driver.out("rest") == [{"c": "a", "total": 5, "gross": 5.95, "half": 2.975, "twice": 10}]
        total = 2**63 - 1 + 2**62
        (big,) = driver.out("big")
        assert (big["total"], big["twice"]) == (str(total), str(2 * total))
