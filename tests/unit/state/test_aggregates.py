"""Aggregate functions: what they say does not depend on how values were divided, and is what others compute."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from statistics import stdev, variance
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import RecordError
from papyra_flow.records.json_codec import read_json, write_json
from papyra_flow.state.aggregates.calls import AggregateCall, aggregate_call
from papyra_flow.state.aggregates.catalogue import FUNCTIONS, SAMPLE

floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.integers(-(10**30), 10**30) | floats
OPTIONS = {"top": ", 3", "quantile": ", 0.5"}
CALLS = [f"{name}(x{OPTIONS.get(name, '')})" for name in FUNCTIONS]


def stored(state: Any) -> Any:
    """A state as the server has it."""
    return read_json(write_json(state))


def added(call: AggregateCall, state: Any, values: Sequence[object], times: Sequence[int]) -> Any:
    accepted = call.function.accept_all(values)
    kept = [(value, time) for value, time in zip(accepted, times, strict=True) if value is not None]
    if not kept:
        return state
    given_values, given_times = zip(*kept, strict=True)
    call.function.refuse(state, given_values)
    return call.function.add(state, given_values, given_times)


def of(text: str, values: Sequence[object], times: Sequence[int] | None = None, size: int = 1000) -> Any:
    """What a call says of values, in batches of a size; between two the state is stored."""
    call = aggregate_call(text)
    times = times if times is not None else range(len(values))
    state = stored(call.function.new())
    for start in range(0, len(values), size):
        state = call.function.copy(state)
        state = stored(added(call, state, values[start : start + size], times[start : start + size]))
    return call.function.result(state)


def same(one: object, other: object) -> bool:
    """Equal, and of the same type."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_does_what_its_page_says(name: str) -> None:
    function = FUNCTIONS[name]
    assert function.call.startswith(f"{name}(")
    call = aggregate_call(function.example)
    assert call.argument is not None
    accepted = []
    for record in SAMPLE:
        value = None if record["amount"] is None and "amount" in function.example else call.argument.one(record)
        accepted.append(value)
    assert of(function.example.replace(call.text, "x"), accepted, [record["at"] for record in SAMPLE]) == pytest.approx(
        function.result
    )


@pytest.mark.parametrize("text", CALLS)
@given(st.lists(st.none() | numbers, max_size=40), st.randoms(use_true_random=False), st.integers(1, 50))
@settings(deadline=None)
def test_no_division_into_batches_shows_in_a_result(
    text: str, values: list[object], chance: random.Random, size: int
) -> None:
    times = [chance.randrange(10) for _ in values]
    assert same(of(text, values, times, size), of(text, values, times))


@pytest.mark.parametrize("text", CALLS)
@given(st.lists(st.none() | numbers, max_size=40), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_no_order_of_arrival_shows_in_a_result(text: str, values: list[object], chance: random.Random) -> None:
    rows = list(enumerate(values))
    shuffled = list(rows)
    chance.shuffle(shuffled)
    found = of(text, [value for _, value in shuffled], [time for time, _ in shuffled], 7)
    expected = of(text, values)
    assert found == expected if text.startswith(("min", "max", "top")) else same(found, expected)  # 1.0 is 1


@pytest.mark.parametrize("text", CALLS)
@given(st.lists(st.none() | numbers, max_size=20), st.lists(st.none() | numbers, max_size=20))
@settings(deadline=None)
def test_merged_states_say_what_all_their_values_say(text: str, one: list[object], other: list[object]) -> None:
    call = aggregate_call(text)
    new = call.function.new
    first = stored(added(call, new(), one, range(len(one))))
    second = stored(added(call, new(), other, range(len(one), len(one) + len(other))))
    before = write_json([first, second])
    merged = stored(call.function.merge(first, second))
    assert write_json([first, second]) == before
    assert same(call.function.result(merged), of(text, [*one, *other]))
    more = call.function.add(call.function.copy(merged), call.function.accept_all([1, 2]), [100, 101])
    assert same(call.function.result(more), of(text, [*one, *other, 1, 2], [*range(len(one) + len(other)), 100, 101]))


def exactly(value: int | float) -> Fraction:
    return Fraction(value)


@given(st.lists(numbers, min_size=1, max_size=40))
@settings(deadline=None)
def test_sums_and_what_follows_from_them_are_rounded_once(values: list[int | float]) -> None:
    summed = sum(map(exactly, values), Fraction(0))
    if all(isinstance(value, int) for value in values):
        assert same(of("sum(x)", values), int(summed))
        assert of("mean(x)", values) == float(summed / len(values))
    else:
        assert of("sum(x)", values) == nearest(summed)
        assert of("mean(x)", values) == pytest.approx(nearest(summed / len(values)), rel=1e-15, abs=5e-324)
    if len(values) > 1:
        exact = Fraction(variance(map(exactly, values)))
        assert of("variance(x)", values) == nearest(exact)
        assert of("stddev(x)", values) == pytest.approx(stdev(map(exactly, values)) if exact else 0.0, rel=1e-15)


def nearest(value: Fraction) -> int | float:
    try:
        return float(value)
    except OverflowError:
        return math.floor(value + Fraction(1, 2))


def test_sums_that_no_float_can_hold_are_integers() -> None:
    most = 1.7976931348623157e308
    assert of("sum(x)", [most, most]) == 2 * int(most)
    assert of("sum(x)", [most, most, -most], size=1) == most
    assert same(of("sum(x)", [most, 1.0, -most], size=1), 1.0)
    assert of("mean(x)", [most, most]) == most
    assert of("sum(x)", [0.1] * 10, size=3) == 1.0
    assert same(of("sum(x)", [0.5, -0.5]), 0.0)
    assert of("sum(x)", [2**53, 1.0, 1.0]) == 2**53 + 2


def test_integers_are_summed_exactly_however_large() -> None:
    assert of("sum(x)", [10**3999, 1, None]) == 10**3999 + 1
    assert of("mean(x)", [10**400, 10**400 + 1]) == 10**400 + 1
    with pytest.raises(RecordError, match=r"`sum` takes numbers, and no integer of more than 4,000 digits"):
        of("sum(x)", [10**4000])
    with pytest.raises(RecordError, match="308 digits"):
        of("variance(x)", [10**309])


@given(st.lists(st.none() | st.integers(-1000, 1000).map(lambda n: n / 8), max_size=60))
@settings(deadline=None)
def test_results_are_those_of_sql(values: list[float | None]) -> None:
    with duckdb.connect() as database:
        database.execute("create table rows (t integer, x double)")
        if values:
            database.executemany("insert into rows values (?, ?)", list(enumerate(values)))
        row = database.execute(
            "select count(x), sum(x), avg(x), min(x), max(x), first(x order by t) filter (x is not null),"
            " last(x order by t) filter (x is not null), coalesce(list(x order by t) filter (x is not null), []),"
            " count(distinct x), var_samp(x), stddev_samp(x), bool_or(x > 0), bool_and(x > 0) from rows"
        ).fetchone()
    assert row is not None
    calls = ["count(x)", "sum(x)", "mean(x)", "min(x)", "max(x)", "first(x)", "last(x)", "list(x)",
             "count_distinct(x)", "variance(x)", "stddev(x)"]  # fmt: skip
    found = [of(call, values) for call in calls]
    positive = [None if value is None else value > 0 for value in values]
    found += [of("any(x)", positive), of("all(x)", positive)]
    assert found == [pytest.approx(value, rel=1e-12, abs=1e-12) if isinstance(value, float) else value for value in row]


def test_first_and_last_go_by_event_time_and_then_by_arrival() -> None:
    values, times = ["b", "a", "c", "d", None], [5, 3, 3, 5, 9]
    assert of("first(x)", values, times, 1) == "a"
    assert of("last(x)", values, times, 1) == "d"
    assert of("list(x)", values, times, 2) == ["a", "c", "b", "d"]


def test_what_leaves_is_not_what_the_state_holds() -> None:
    call = aggregate_call("list(x)")
    state = call.function.add(call.function.new(), call.function.accept_all([{"tags": ["a"]}]), [1])
    result: Any = call.function.result(state)
    result[0]["tags"].append("b")
    assert call.function.result(state) == [{"tags": ["a"]}]


@pytest.mark.parametrize(
    ("text", "values", "told"),
    [
        ("sum(x)", ["12"], "`sum` takes numbers, not '12'"),
        ("mean(x)", [True], "`mean` takes numbers, not True"),
        ("sum(x)", [math.nan], "nan"),
        ("sum(x)", [1.0, math.inf], "inf"),
        ("list(x)", [math.nan], "nan"),
        ("count_distinct(x)", [math.inf], "inf"),
        ("max(x)", [math.nan], "nan"),
        ("variance(x)", ["a"], "`variance` takes numbers, not 'a'"),
        ("max(x)", [[1]], "`max` takes numbers, text, booleans or times"),
        ("max(x)", [3, "a"], "`max`: 'a' is text, and what came before it is a number"),
        ("top(x, 2)", [True, 1], "`top`: 1 is a number, and what came before it is a boolean"),
        ("list(x)", ["a"] * 10_001, "more than 10,000 values: make the window smaller"),
        ("count_distinct(x)", list(range(100_001)), "up to 100,000 different values: use `approx_count_distinct`"),
        ("quantile(x, 0.5)", [10**400], "no integer of more than 308 digits"),
    ],
)
def test_values_that_do_not_fit_are_the_record_s_failure(text: str, values: list[object], told: str) -> None:
    with pytest.raises(RecordError) as failed:
        of(text, values)
    assert told in str(failed.value)


def test_decimals_and_times_have_the_form_that_they_have_in_records() -> None:
    assert of("sum(x)", [Decimal("0.5"), Decimal(2)]) == 2.5
    winter = datetime.fromisoformat("2024-01-31T12:00:00+01:00")
    later = datetime(2024, 1, 31, 11, 30, tzinfo=UTC)
    assert of("max(x)", [winter, later]) == "2024-01-31T11:30:00+00:00"
    assert of("count_distinct(x)", [winter, winter.astimezone(timezone(timedelta(hours=5)))]) == 1


@given(st.lists(st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(0, 1))
@settings(deadline=None)
def test_a_quantile_is_within_a_hundredth_of_a_value_of_its_rank(values: list[int | float], part: float) -> None:
    found = of(f"quantile(x, {part!r})", values, size=9)
    expected = sorted(values)[int(part * (len(values) - 1))]
    assert abs(found - expected) <= 0.01 * abs(expected) + 1e-300


def test_a_quantile_of_extremes_is_still_a_number() -> None:
    values = [1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 0.0]
    assert of("quantile(x, 1)", values) == pytest.approx(values[0], rel=0.05)
    assert of("quantile(x, 0)", values) == pytest.approx(values[1], rel=0.05)
    assert of("quantile(x, 0.5)", values) == 0.0
    assert of("quantile(x, 0.5)", [3, 3, 3]) == 3.0


def test_distinct_values_are_estimated_within_a_few_parts_of_a_hundred() -> None:
    values = [f"user{number % 20_000}" for number in range(40_000)]
    assert of("approx_count_distinct(x)", values, size=5000) == pytest.approx(20_000, rel=0.05)
    few = values[:3000]
    assert len({of("approx_count_distinct(x)", sorted(few, key=hash), size=size) for size in (100, 1000)}
               | {of("approx_count_distinct(x)", few[::-1])}) == 1  # fmt: skip
    assert of("approx_count_distinct(x)", values[:100]) == 100
    assert of("approx_count_distinct(x)", []) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("amount", "expected a call of an aggregate function such as count() or sum(amount), not `amount`"),
        ("sum(a) / count()", "reckon with its results in a `map` behind it"),
        ("smu(a)", "unknown aggregate function 'smu' (did you mean sum?)"),
        ("frobnicate(a)", "known: all, any, approx_count_distinct"),
        ("sum()", "`sum` is called as sum(x)"),
        ("sum(a, b)", "`sum` is called as sum(x)"),
        ("sum(*a)", "`sum` is called as sum(x)"),
        ("sum(a, start=1)", "`sum` is called as sum(x)"),
        ("quantile(a)", "`quantile` is called as quantile(x, q)"),
        ("quantile(a, 2)", "`q` of quantile(x, q) is a number from 0 to 1, not 2"),
        ("quantile(a, q)", "is a number from 0 to 1, not q"),
        ("top(a, 0)", "`k` of top(x, k) is an integer from 1 to 1000, not 0"),
        ("top(a, True)", "is an integer from 1 to 1000"),
        ("sum(i for i in items)", "takes one value of each record, not a generator: a list's own sum is sum(sum(...))"),
        ("sum(nosuch(a))", "unknown function 'nosuch'"),
        ("first(headers.topic)", "`first` cannot read headers: `set` a field to the header first"),
        ("sum(", "not a Python expression"),
    ],
)
def test_a_call_that_means_nothing_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its text is what this is about
        aggregate_call(text)
    assert told in str(refused.value)


def test_what_is_in_the_brackets_is_an_ordinary_expression() -> None:
    call = aggregate_call("sum( sum(i.qty * i.price for i in items) )")
    assert call.argument is not None
    assert call.argument.one({"items": [{"qty": 2, "price": 3}, {"qty": 1, "price": 4}]}) == 10
    assert call.text == "sum(i.qty * i.price for i in items)"
    assert aggregate_call("sum(a*2)").meaning == aggregate_call("sum( a * 2 )").meaning == "sum(a * 2)"


def test_a_missing_library_is_told_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in ("datasketches", "ddsketch"):
        monkeypatch.setitem(sys.modules, module, None)
    for text in ("approx_count_distinct(x)", "quantile(x, 0.5)"):
        with pytest.raises(ValueError, match=r"pip install 'papyra-flow\[sketches\]'"):
            aggregate_call(text)


@given(st.recursive(numbers | st.text() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
@settings(deadline=None)
def test_values_of_lists_come_back(value: object) -> None:
    assert of("list(x)", [value]) == ([] if value is None else [json.loads(json.dumps(value))])
