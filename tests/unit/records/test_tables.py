"""Records become columns and records again with the values that they had, or one of them is refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import RecordError
from papyra_flow.records.columns import TYPES
from papyra_flow.records.entries import encode_json
from papyra_flow.records.table_rows import Fitness, records_of
from papyra_flow.records.tables import decode_table, encode_table, table_of, usual_types

finite = st.floats(allow_nan=False, allow_infinity=False)
long_integers = st.integers(-(10**38) + 1, 10**38 - 1)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))]))
DAY = timedelta(days=1)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(), "int": st.integers(-(2**63), 2**63 - 1), "long": long_integers, "float": finite,
    "text": st.text(), "bytes": st.binary(), "date": st.dates(), "datetime": moments, "time": st.times(),
    "timedelta": st.timedeltas(-(10**5) * DAY, 10**5 * DAY),
    "ints": st.lists(st.integers(-5, 5)), "texts": st.lists(st.text()),
    "struct": st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.dates() | st.none()}),
    "decimal": st.decimals(-(10**9), 10**9, places=3),
}  # fmt: skip


def through(values: list[Any], wanted: pa.DataType | None = None) -> list[Any]:
    """The values after they were a column of an entry."""
    table = table_of([{"v": value} for value in values], {"v": wanted} if wanted else None)
    return [record["v"] for record in records_of(decode_table((b"data", encode_table(table))))]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_values_of_one_type_come_back_as_they_were(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | KINDS[kind], min_size=1, max_size=6))
    found = through(values)
    if kind == "decimal":
        assert encode_json({"v": found}) == encode_json({"v": values})
        return
    assert found == values
    if kind != "datetime":
        assert [type(value) for value in found] == [type(value) for value in values]


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-(10**40), 10**40) | finite, min_size=1, max_size=6))
def test_numbers_of_different_types_stay_what_they_are_or_are_refused(values: list[Any]) -> None:
    try:
        found = through(values)
    except RecordError:
        whole = [value for value in values if isinstance(value, int)]
        floats = any(isinstance(value, float) for value in values)
        assert any(abs(value) >= 10**38 or (floats and float(value) != value) for value in whole)
    else:
        assert found == values


MIXED = [True, 1, 1.5, "a", b"a", date(2024, 1, 1), datetime(2024, 1, 1, 5, tzinfo=UTC), time(1), [1], {"a": 1}]


@settings(deadline=None)
@given(st.lists(st.sampled_from(MIXED), min_size=2, max_size=3), st.sampled_from(["plain", "list", "dict"]))
def test_no_mixture_of_types_becomes_one_of_them(values: list[Any], place: str) -> None:
    given_ = {"plain": values, "list": [values, None], "dict": [{"x": value} for value in values]}[place]
    try:
        found = through(given_)
    except RecordError as exc:
        assert "the field 'v'" in str(exc)  # noqa: PT017
        return
    assert found == given_
    kinds = {type(value) for value in values}
    assert len(kinds) == 1 or kinds == {int, float}


def test_long_integers_are_kept_inside_lists_and_dicts() -> None:
    for value in ([2**70, None, 1], {"a": [2**63], "b": 1.5, "c": "x"}, [[-(2**63)], [-(2**63) - 1]]):
        assert repr(through([value, None])) == repr([value, None])


UNFIT = [time(1, tzinfo=UTC), 10**38, [[time(1, tzinfo=UTC)]], [10**38], 10**5000, object(), {1: 2}, [2**70, 1.5]]


@pytest.mark.parametrize("bad", UNFIT, ids=lambda bad: type(bad).__name__)
def test_what_arrow_has_no_type_for_is_refused(bad: object) -> None:
    with pytest.raises(RecordError, match="the values of the field 'v' do not fit one column"):
        through([bad])


class Color(Enum):
    RED = "red"


def test_other_types_have_the_form_that_they_have_in_json() -> None:
    assert through([UUID(int=1), None]) == ["00000000-0000-0000-0000-000000000001", None]
    assert through([Color.RED, "blue"]) == ["red", "blue"]
    assert through([(1, 2), [3]]) == [[1, 2], [3]]
    assert through([{2, 1}]) == [[1, 2]]
    np = pytest.importorskip("numpy")
    assert repr(through([np.int64(1), 2])) == "[1, 2]"
    assert repr(through([np.float64(0.5), None, 2])) == "[0.5, None, 2.0]"


def test_naive_times_are_utc() -> None:
    naive = datetime(2024, 1, 1, 12)  # noqa: DTZ001
    aware = datetime(2024, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert through([naive, aware]) == [aware, aware]
    assert records_of(pa.table({"t": pa.array([naive])})) == [{"t": aware}]
    for text in ("2024-01-01T12:00:00", "2024-01-01 12:00", "2024-01-01T12:00:00Z", "2024-01-01T14:00:00+02:00"):
        assert through([text, "2024-01-01T00:00"], TYPES["datetime"])[0] == aware


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("int", "12", 12),
        ("int", 3.0, 3),
        ("int", Decimal("7.0"), 7),
        ("int", str(2**63), RecordError),
        ("int", 2**63, RecordError),
        ("int", 1.5, RecordError),
        ("int", True, RecordError),
        ("int", "x", RecordError),
        ("float", "1.5", 1.5),
        ("float", 2, 2.0),
        ("float", 2**53 + 1, RecordError),
        ("float", Decimal("1.19"), 1.19),
        ("float", Decimal("0.12345678901234567890"), RecordError),
        ("float", False, RecordError),
        ("bool", "true", True),
        ("bool", 2, RecordError),
        ("str", 12, "12"),
        ("str", 1.0, "1.0"),
        ("str", True, "true"),
        ("str", date(2024, 1, 1), "2024-01-01"),
        ("str", datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00+00:00"),
        ("str", [1], "[1]"),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("date", datetime(2024, 1, 1, 5, tzinfo=UTC), RecordError),
        ("date", 19000, RecordError),
        ("datetime", date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
        ("datetime", 1700000000, RecordError),
        ("datetime", "soon", RecordError),
    ],
)
def test_a_wanted_type_takes_what_means_the_same_and_nothing_else(word: str, value: object, expected: object) -> None:
    if expected is RecordError:
        with pytest.raises(RecordError, match=r"the field 'v' is .*, which does not fit its column"):
            through([value], TYPES[word])
    else:
        found = through([value, None], TYPES[word])
        assert found == [expected, None]
        assert type(found[0]) is type(expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([1, 2**70, 10**40, 1.5, "a", None, True, [1], math.nan]), min_size=1, max_size=8))
def test_the_usual_type_fits_some_values_and_each_value_fits_or_is_refused_by_itself(values: list[Any]) -> None:
    types = usual_types([{"v": value} for value in values], {})
    kept = []
    for value in values:
        try:
            table_of([{"v": value}], types)
        except RecordError:
            continue
        kept.append(value)
    assert kept or all(value == 10**40 for value in values)
    assert table_of([{"v": value} for value in kept], types).num_rows == len(kept)


@pytest.mark.parametrize(
    ("array", "place"),
    [
        (pa.array([1.0, None, math.nan]), "'v' is nan"),
        (pa.array([1e308, 1e308, -math.inf]), "'v' is -inf"),
        (pa.array([math.inf], pa.float32()), "'v' is inf"),
        (pa.array([[1.0], [], None, [math.nan]]), r"'v\[\]' is nan"),
        (pa.array([{"a": {"b": math.inf}}]), r"'v\.a\.b' is inf"),
        (pa.array([{"a": [math.inf]}]), r"'v\.a\[\]' is inf"),
        (pa.array([[("k", math.nan)]], pa.map_(pa.string(), pa.float64())), r"'v\[0\]\[0\]\[1\]' is nan"),
        (pa.array([math.nan, 1.0]).dictionary_encode(), "'v' is nan"),
    ],
)
def test_a_table_with_what_is_not_a_number_is_refused_and_its_other_rows_are_not(array: pa.Array, place: str) -> None:
    fitness = Fitness()
    for _ in range(2):
        with pytest.raises(RecordError, match=f"the field {place}, which is not a number that JSON has"):
            fitness.require(pa.table({"v": array}))
        fitness.require(pa.table({"v": array}).slice(0, 0))
        if len(array) > 2:
            fitness.require(pa.table({"v": array}).slice(0, 2))


def test_a_column_is_looked_at_by_the_type_that_it_has_in_this_table() -> None:
    fitness = Fitness()
    for number in range(20):
        fitness.require(pa.table({"v": [number], f"w{number}": [1.0]}))
        with pytest.raises(RecordError, match="the field 'v' is nan"):
            fitness.require(pa.table({"v": [math.nan], f"w{number}": [1.0]}))


def test_finite_numbers_whose_sum_is_not_are_fine() -> None:
    Fitness().require(
        pa.table({"v": [1e308, 1e308, 1e308], "w": [-1e308, None, -1e308], "x": [[1e308, 1e308], None, []]})
    )


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"])
    for refuse in (Fitness().require, records_of):
        with pytest.raises(RecordError, match="the table has two columns called 'n'"):
            refuse(table)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1001], pa.timestamp("ns")), "1970-01-01T00:00:00.000001001+00:00"),
        (pa.array([1001], pa.timestamp("ns", "UTC")), "1970-01-01T00:00:00.000001001+00:00"),
        (pa.array([1001], pa.timestamp("ns", "Europe/Berlin")), "1970-01-01T01:00:00.000001001+01:00"),
        (pa.array([1000], pa.timestamp("ns")), "1970-01-01T00:00:00.000001+00:00"),
        (pa.array([1001], pa.time64("ns")), "00:00:00.000001001"),
        (pa.array([1001], pa.duration("ns")), "PT0.000001001S"),
        (pa.array([-1000], pa.duration("ns")), "-PT0.000001S"),
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array([Decimal("1.5")], pa.decimal256(60, 10)), 1.5),
        (pa.array([Decimal(10**50)], pa.decimal256(60, 0)), 10**50),
        (pa.array([pa.MonthDayNano([13, 0, 1])]), "P1Y1MT0.000000001S"),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), {"k": 1}),
        (pa.array([b"a"], pa.large_binary()), "YQ=="),
        (pa.array([0.5], pa.float16()), 0.5),
    ],
)
def test_types_that_others_write_keep_their_values(array: pa.Array, expected: object) -> None:
    import json

    (record,) = records_of(pa.table({"v": array}))
    assert repr(json.loads(encode_json(record))) == repr({"v": expected})


def test_what_python_has_no_value_for_is_refused() -> None:
    for array in (
        pa.array([2**31 - 1], pa.date32()),
        pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[1001]], pa.list_(pa.timestamp("ns"))),
    ):
        with pytest.raises(RecordError, match="the field 'v'"):
            records_of(pa.table({"v": array}))
