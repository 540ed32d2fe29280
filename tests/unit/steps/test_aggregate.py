"""`aggregate`: what leaves is what a plain computation over the same records says, whatever the size of batches."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from papyra_flow.errors import ExpressionError, RecordError
from papyra_flow.state.event_time import END_OF_TIME, event_time, iso_time
from papyra_flow.steps.aggregate import Aggregate
from papyra_flow.steps.keyed import KeyedRows, Late
from tests.unit.state.drive import CONTEXT, Driver, Row, in_order

S = 1000
ALL = {"n": "count()", "some": "count(x)", "total": "sum(x)", "least": "min(x)", "most": "max(x)", "first": "first(x)",
       "last": "last(x)", "all": "list(x)", "kinds": "count_distinct(x)"}  # fmt: skip

keys = st.sampled_from(["a", "b", "a b", 'a"', "é", 1, 1.0, True, None, [1, "x"]])
values = st.none() | st.integers(-(10**25), 10**25) | st.sampled_from([0.1, 0.2, 1e16, -1e16, 2.5])
sizes = st.integers(1, 1000)


@st.composite
def rows(draw: st.DrawFn, most: int = 25) -> list[Row]:
    """Records out of order, with ties, under a watermark that makes some of them late."""
    count = draw(st.integers(0, most))
    watermark, found = 0, []
    for _ in range(count):
        watermark += draw(st.sampled_from([0, 0, 1, 5, 30]))
        time = watermark + draw(st.integers(-40, 40))
        found.append(Row({"k": draw(keys), "x": draw(values)}, time, watermark))
    return found


def results(members: list[Row]) -> dict[str, Any]:
    """What `ALL` says of records in the order of their arrival."""
    ordered = [row.record["x"] for row in sorted(members, key=lambda row: row.time) if row.record["x"] is not None]
    return {
        "n": len(members),
        "some": len(ordered),
        "total": exact_sum(ordered),
        "least": min(ordered, default=None),
        "most": max(ordered, default=None),
        "first": ordered[0] if ordered else None,
        "last": ordered[-1] if ordered else None,
        "all": ordered,
        "kinds": len(set(ordered)),
    }


def exact_sum(ordered: list[Any]) -> Any:
    from fractions import Fraction

    if not ordered:
        return None
    exact = sum(map(Fraction, ordered))
    return int(exact) if all(isinstance(one, int) for one in ordered) else float(exact)


def key_text(key: object) -> str:
    """What keys are equal by, and in what order they leave."""
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return json.dumps(key, ensure_ascii=False, separators=(",", ":"))


def normal(record: Mapping[str, Any]) -> str:
    """A record as text: True is not 1 there, and 1.0 is not either; but min, max and distinct take them for equal."""
    return json.dumps({**record, "least": float(record["least"] or 0), "most": float(record["most"] or 0)})


def expected_windows(
    found: list[Row], starts_of: Callable[[int], list[int]], size: int, grace: int
) -> tuple[list[dict[str, Any]], int]:
    """The records of windows of a time, and how many came too late for all of theirs."""
    members: dict[tuple[int, str], list[Row]] = defaultdict(list)
    late = 0
    for row in found:
        there = [start for start in starts_of(row.time) if start + size + grace > row.watermark]
        late += not there
        for start in there:
            members[start + size, key_text(row.record["k"])].append(row)
    return [
        {"k": json.loads(text), "window_start": iso_time(end - size), "window_end": iso_time(end), **results(inside)}
        for (end, text), inside in sorted(members.items(), key=lambda item: (item[0][0], item[0][1].encode()))
    ], late


@given(rows(), sizes, st.sampled_from([(10, 10), (50, 10), (30, 20), (7, 7)]), st.sampled_from([0, 15]), st.booleans(),
       st.integers(1, 7))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_windows_are_what_a_plain_computation_says(
    found: list[Row], size: int, window: tuple[int, int], grace: int, forgets: bool, portion: int
) -> None:
    length, every = window
    config = Aggregate.model_validate({
        "by": "k", "window": {"size": f"{length}ms", "every": f"{every}ms"}, "grace": f"{grace}ms", "fields": ALL,
    })  # fmt: skip
    driver = Driver(config, size=size, forgets=forgets, portion=portion).run(found)
    records, late = expected_windows(
        found, lambda time: [s for s in range(time - length + 1, time + 1) if s % every == 0], length, grace
    )
    assert list(map(normal, driver.records)) == list(map(normal, records))
    assert len(driver.late) == late
    assert driver.times == [event_time(record["window_end"]) - 1 for record in records]
    assert not driver.failures
    assert not driver.hash
    assert not driver.timers


@given(rows(), sizes, st.sampled_from([5, 20]), st.sampled_from([0, 15]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_sessions_are_what_a_plain_computation_says(
    found: list[Row], size: int, gap: int, grace: int, forgets: bool
) -> None:
    config = Aggregate.model_validate(
        {"by": "k", "window": {"gap": f"{gap}ms"}, "grace": f"{grace}ms", "fields": ALL}
    )  # fmt: skip
    driver = Driver(config, size=size, forgets=forgets).run(found)

    sessions: list[tuple[str, list[Row]]] = []
    open_ones: list[tuple[str, list[Row]]] = []
    late = 0
    for row in found:

        def is_open(one: tuple[str, list[Row]], row: Row = row) -> bool:
            return max(member.time for member in one[1]) + gap + grace > row.watermark

        open_ones = list(filter(is_open, open_ones))
        near = [
            one for one in open_ones
            if one[0] == key_text(row.record["k"]) and any(abs(member.time - row.time) < gap for member in one[1])
        ]  # fmt: skip
        joined = (key_text(row.record["k"]), [member for one in near for member in one[1]] + [row])
        if not is_open(joined):
            late += 1
            continue
        joined[1].sort(key=found.index)
        for one in near:
            open_ones.remove(one)
            sessions.remove(one)
        open_ones.append(joined)
        sessions.append(joined)
    expected = []
    for text, members in sessions:
        start, end = min(row.time for row in members), max(row.time for row in members) + gap
        expected.append((end, text.encode(), {"k": json.loads(text), "window_start": iso_time(start),
                                              "window_end": iso_time(end), **results(members)}))  # fmt: skip
    expected.sort(key=lambda one: one[:2])
    assert list(map(normal, driver.records)) == [normal(record) for _, _, record in expected]
    assert len(driver.late) == late
    assert not driver.failures
    assert not driver.hash
    assert not driver.timers


@given(rows(), sizes, st.booleans())
@settings(deadline=None, max_examples=40)
def test_for_ever_each_record_gives_what_there_is_so_far(found: list[Row], size: int, forgets: bool) -> None:
    driver = Driver(Aggregate.model_validate({"by": "k", "fields": ALL}), size=size, forgets=forgets).run(found)
    so_far: dict[str, list[Row]] = defaultdict(list)
    expected = []
    for row in found:
        members = so_far[key_text(row.record["k"])]
        members.append(row)
        expected.append({"k": json.loads(key_text(row.record["k"])), **results(members)})
    assert list(map(normal, driver.records)) == list(map(normal, expected))
    assert len(driver.hash) == len(so_far)  # they stay, for the next run
    assert not driver.timers


@given(rows(), sizes, st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=40)
def test_windows_of_a_count_leave_when_they_are_full_and_the_rest_at_the_end(
    found: list[Row], size: int, count: int, forgets: bool
) -> None:
    config = Aggregate.model_validate({"by": "k", "window": {"count": count}, "fields": ALL})
    driver = Driver(config, size=size, forgets=forgets).run(found)
    members: dict[str, list[Row]] = defaultdict(list)
    expected = []
    for row in found:
        members[text := key_text(row.record["k"])].append(row)
        if len(members[text]) == count:
            expected.append({"k": json.loads(text), **results(members.pop(text))})
    rest = [{"k": json.loads(text), **results(inside)} for text, inside in sorted(
        members.items(), key=lambda item: item[0].encode())]  # fmt: skip
    assert list(map(normal, driver.records)) == list(map(normal, expected + rest))
    assert driver.times == [max(row.time for row in members[key_text(record["k"])]) for record in rest]
    assert not driver.hash
    assert not driver.timers


def test_what_the_end_of_the_input_closes_is_not_behind_the_watermark() -> None:
    for window in (None, {"count": 3}):
        config = Aggregate.model_validate({"by": "k", "window": window, "emit": "final", "fields": {"n": "count()"}})
        driver = Driver(config)
        driver.batch([Row({"k": "a"}, 5 * S), Row({"k": "b"}, 9 * S)])
        timers = driver._due(END_OF_TIME)
        fired: Any = driver.keyed.step.fire(timers, 7 * S, driver.store)
        assert [one.time for one in fired] == [7 * S, 9 * S]


@given(rows(), sizes)
@settings(deadline=None, max_examples=40)
def test_for_ever_and_final_leaves_at_the_end_of_the_input(found: list[Row], size: int) -> None:
    config = Aggregate.model_validate({"by": "k", "emit": "final", "fields": ALL})
    driver = Driver(config, size=size).run(found, end=False)
    assert not driver.records
    driver.advance(END_OF_TIME)
    members: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        members[key_text(row.record["k"])].append(row)
    expected = [{"k": json.loads(text), **results(inside)} for text, inside in sorted(
        members.items(), key=lambda item: item[0].encode())]  # fmt: skip
    assert list(map(normal, driver.records)) == list(map(normal, expected))
    assert driver.times == [max(row.time for row in members[key_text(record["k"])]) for record in expected]
    assert not driver.hash


@given(rows(), sizes, st.booleans(), st.sampled_from(["each", "10ms", "3ms", "1s"]),
       st.sampled_from([None, "20ms", {"size": "20ms", "every": "10ms"}]))  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_the_last_version_of_each_row_is_its_final_one(
    found: list[Row], size: int, forgets: bool, emit: str, window: object
) -> None:
    config = Aggregate.model_validate({"by": "k", "window": window, "emit": emit, "grace": "5ms" if window else 0,
                                       "fields": ALL})  # fmt: skip
    driver = Driver(config, size=size, forgets=forgets).run(found)
    final = Aggregate.model_validate(
        {**config.model_dump(mode="json", exclude={"emit"}, exclude_defaults=True), "emit": "final"}
    )
    upsert_by = driver.keyed.upsert_by
    assert upsert_by == (("k", "window_start") if window else ("k",))
    latest = {json.dumps([record[name] for name in upsert_by]): normal(record) for record in driver.records}
    expected = [normal(record) for record in Driver(final).run(found).records]
    assert sorted(latest.values()) == sorted(expected)
    if window:
        assert not driver.hash
    assert not driver.timers


def test_what_changed_is_given_as_often_as_asked_and_no_more() -> None:
    config = Aggregate.model_validate({"by": "k", "emit": "10s", "fields": {"n": "count()"}})
    for size in (1, 2, 100):
        driver = Driver(config, size=size)
        for time in (1, 4, 12, 13, 15):
            driver.run([Row({"k": "a"}, time * S, time * S)], end=False)
        assert driver.records == [{"k": "a", "n": 3}]
        driver.run([Row({"k": "b"}, 27 * S, 27 * S)], end=False)
        assert driver.records == [{"k": "a", "n": 3}, {"k": "a", "n": 5}]
        driver.run([], end=True)
        assert driver.records[2:] == [{"k": "b", "n": 1}]
        assert driver.times == [10 * S, 20 * S, 30 * S]


def test_a_record_may_be_in_one_window_that_is_open_and_in_one_that_is_not() -> None:
    config = Aggregate.model_validate({"window": {"size": "20s", "every": "10s"}, "fields": {"n": "count()"}})
    driver = Driver(config).run([Row({}, 15 * S, 0), Row({}, 15 * S, 25 * S), Row({}, 5 * S, 25 * S)])
    assert [(record["window_start"][11:19], record["n"]) for record in driver.records] == [
        ("00:00:00", 1), ("00:00:10", 2)]  # fmt: skip
    (late,) = driver.late
    assert late.reason == ("late: its window from 1970-01-01T00:00:00+00:00 to 1970-01-01T00:00:20+00:00 had closed, "
                           "the watermark was 1970-01-01T00:00:25+00:00")  # fmt: skip


def test_the_watermark_moves_record_by_record() -> None:
    config = Aggregate.model_validate({"window": "10s", "fields": {"n": "count()"}})
    found = [Row({}, 5 * S, 0), Row({}, 12 * S, 10 * S), Row({}, 6 * S, 10 * S), Row({}, 13 * S, 10 * S)]
    for size in (1, 2, 4):
        driver = Driver(config, size=size).run(found)
        assert [record["n"] for record in driver.records] == [1, 2]
        assert len(driver.late) == 1


def test_a_watermark_that_closes_a_window_within_a_batch_makes_the_rest_of_it_late() -> None:
    config = Aggregate.model_validate({"window": "10s", "fields": {"n": "count()"}})
    found = [Row({}, 5 * S, 0), Row({}, 6 * S, 10 * S - 1), Row({}, 7 * S, 10 * S), Row({}, 8 * S, 10 * S)]
    for size in (1, 2, 4):
        driver = Driver(config, size=size).run(found)
        assert [record["n"] for record in driver.records] == [2]
        assert len(driver.late) == 2


def test_a_session_that_has_ended_takes_no_more_records_though_its_timer_has_not_gone_off() -> None:
    config = Aggregate.model_validate({"window": {"gap": "10s"}, "fields": {"n": "count()"}})
    found = [Row({}, 0, 0), Row({}, 9 * S, 19 * S), Row({}, 9 * S + 500, 19 * S)]
    for size in (1, 3):
        driver = Driver(config, size=size).run(found)
        assert [(event_time(record["window_start"]), record["n"]) for record in driver.records] == [
            (0, 1), (9 * S + 500, 1)]  # fmt: skip
        assert [late.reason for late in driver.late] == [
            "late: its window from 1970-01-01T00:00:09+00:00 to 1970-01-01T00:00:19+00:00 had closed, "
            "the watermark was 1970-01-01T00:00:19+00:00"]  # fmt: skip


def test_sessions_that_merge_have_one_timer() -> None:
    config = Aggregate.model_validate({"by": "k", "window": {"gap": "10s"}, "fields": {"n": "count()"}})
    driver = Driver(config, size=1)
    for time, timers in [(0, 1), (15, 2), (8, 1), (-5, 1)]:
        driver.run([Row({"k": "a"}, time * S)], end=False)
        assert len(driver.timers) == timers
    assert driver.timers == {b'["a",-5000]': 25 * S}
    assert [record["n"] for record in driver.run([]).records] == [4]


# -- acceptance: results that others document -----------------------------------------------------------------


def test_the_word_count_of_kafka_streams() -> None:
    lines = ["all streams lead to kafka", "hello kafka streams", "join kafka summit"]
    words = [Row({"word": word}) for line in lines for word in line.split()]
    config = Aggregate.model_validate({"by": "word", "emit": "each", "fields": {"n": "count()"}})
    for size in (1, 3, 500):
        driver = Driver(config, size=size).run(words)
        assert [(record["word"], record["n"]) for record in driver.records] == [
            ("all", 1), ("streams", 1), ("lead", 1), ("to", 1), ("kafka", 1), ("hello", 1), ("kafka", 2),
            ("streams", 2), ("join", 1), ("kafka", 3), ("summit", 1),
        ]  # fmt: skip


def test_the_sessions_of_beam() -> None:
    events = [("alice", 1), ("alice", 3), ("bob", 7), ("bob", 12), ("bob", 20), ("alice", 101), ("alice", 109),
              ("alice", 115)]  # fmt: skip
    config = Aggregate.model_validate({"by": "user", "window": {"gap": "10s"}, "fields": {"n": "count()"}})
    for order in (events, events[::-1]):
        found = [Row({"user": user}, second * S) for user, second in order]
        records = Driver(config, size=3).run(found).records
        assert [
            (
                record["user"],
                event_time(record["window_start"]) // S,
                event_time(record["window_end"]) // S,
                record["n"],
            )
            for record in records
        ] == [("alice", 1, 13, 2), ("bob", 7, 30, 3), ("alice", 101, 125, 3)]


def test_the_windowed_sum_of_numaflow() -> None:
    start = event_time("2024-01-31T12:00:00Z")
    times = [start + second * S for second in range(180) for _ in range(2)]
    found = [
        Row({"n": 5 if place % 2 else 10, "kind": "odd" if place % 2 else "even"}, time, watermark)
        for place, (time, watermark) in enumerate(zip(times, in_order(times, lag=1), strict=True))
    ]  # fmt: skip
    by_kind = Aggregate.model_validate({"by": "kind", "window": "60s", "fields": {"total": "sum(n)"}})
    assert [(record["kind"], record["total"]) for record in Driver(by_kind, size=7).run(found).records] == [
        ("even", 600), ("odd", 300)] * 3  # fmt: skip
    one = Aggregate.model_validate({"window": "60s", "fields": {"total": "sum(n)"}})
    assert [record["total"] for record in Driver(one, size=7).run(found).records] == [900] * 3


sql_rows = st.tuples(st.sampled_from("abc"), st.none() | st.integers(-100, 100), st.integers(0, 7200))


@given(st.lists(sql_rows, max_size=80), sizes)
@settings(deadline=None, max_examples=25)
def test_windows_are_those_of_sql(found: list[tuple[str, int | None, int]], size: int) -> None:
    with duckdb.connect() as database:
        database.execute("create table rows (k text, x integer, s integer)")
        if found:
            database.executemany("insert into rows values (?, ?, ?)", found)
        expected = database.execute(
            "select k, s // 600 * 600, count(*), sum(x), min(x), avg(x), stddev_samp(x) from rows"
            " group by 1, 2 order by 2, 1"
        ).fetchall()
    config = Aggregate.model_validate({
        "by": "k", "window": "10m",
        "fields": {"n": "count()", "total": "sum(x)", "least": "min(x)", "mean": "mean(x)", "spread": "stddev(x)"},
    })  # fmt: skip
    records = Driver(config, size=size).run([Row({"k": k, "x": x}, s * S) for k, x, s in found]).records
    assert [
        (record["k"], event_time(record["window_start"]) // S, *[record[name] for name in config.fields])
        for record in records
    ] == [tuple(pytest.approx(one, abs=1e-9) if isinstance(one, float) else one for one in row) for row in expected]


# -- records that fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("window", [None, "1m", {"size": "1m", "every": "30s"}, {"gap": "1m"}, {"count": 100}])
def test_a_record_that_fails_changes_nothing(window: object, size: int) -> None:
    good = [Row({"k": "a", "x": 1}), Row({"k": "a", "x": 2}), Row({"k": "b", "x": 3})]
    bad = [
        Row({"k": "a"}), Row({"x": 1}), Row({"k": "a", "x": "text"}), Row({"k": float("nan"), "x": 1}),
        Row({"k": "a", "x": float("inf")}), Row({"k": "only bad", "x": [1]}),
    ]  # fmt: skip
    config = Aggregate.model_validate({"by": "k", "window": window, "emit": "final",
                                       "fields": {"n": "count()", "most": "max(x)", "total": "sum(x)"}})  # fmt: skip
    mixed = [good[0], *bad[:3], good[1], *bad[3:], good[2]]
    driver = Driver(config, size=size).run(mixed)
    assert driver.records == Driver(config).run(good).records
    assert [type(failure) for failure in driver.failures] == [
        ExpressionError, ExpressionError, RecordError, RecordError, RecordError, RecordError]  # fmt: skip
    assert str(driver.failures[0]) == "the record has no field 'x' (in `x`)"


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("window", ["1m", {"size": "1m", "every": "20s"}, {"gap": "1m"}, {"count": 100}])
def test_a_value_that_does_not_fit_those_before_it_fails_alone(window: object, size: int) -> None:
    config = Aggregate.model_validate({"window": window, "fields": {"n": "count()", "most": "max(x)"}})
    driver = Driver(config, size=size).run([Row({"x": 5}), Row({"x": "a"}), Row({"x": None}), Row({"x": 7})])
    assert {(record["n"], record["most"]) for record in driver.records} == {(3, 7)}
    assert [str(failure) for failure in driver.failures] == [
        "`max`: 'a' is text, and what came before it is a number"]  # fmt: skip


def test_a_record_fails_if_it_joins_sessions_of_two_kinds_and_they_stay_as_they_are() -> None:
    config = Aggregate.model_validate({"window": {"gap": "10s"}, "fields": {"most": "max(x)"}})
    driver = Driver(config).run([Row({"x": 5}, 0), Row({"x": "a"}, 15 * S), Row({"x": None}, 8 * S)])
    assert [record["most"] for record in driver.records] == [5, "a"]
    assert len(driver.failures) == 1


@pytest.mark.parametrize("window", ["1d", {"size": "2d", "every": "1d"}, {"gap": "1d"}])
@pytest.mark.parametrize("size", [1, 100])
def test_a_time_whose_window_cannot_be_written_fails_alone(window: object, size: int) -> None:
    config = Aggregate.model_validate({"window": window, "fields": {"n": "count()"}})
    days = ["2024-01-31", "9999-12-31T23:00Z", "2024-01-31T23:59Z"]
    driver = Driver(config, size=size).run([Row({}, event_time(day)) for day in days])
    assert {record["n"] for record in driver.records} == {2}
    assert [str(failure) for failure in driver.failures] == ["the record's window is not within the years 1 to 9999"]


def test_a_batch_is_taken_back_as_a_whole() -> None:
    for window in (None, "1m", {"gap": "1m"}, {"count": 3}):
        config = Aggregate.model_validate({"by": "k", "window": window, "emit": "final",
                                           "fields": {"all": "list(x)", "kinds": "count_distinct(x)"}})  # fmt: skip
        driver = Driver(config)
        driver.batch([Row({"k": "a", "x": 1})])
        prepared = driver.keyed.step.prepare(
            records := KeyedRows([{"k": "a", "x": 2}, {"k": "b", "x": 3}], [0, 0], [-5, -5])
        )
        driver._load(driver.keyed.step.fields(prepared))
        driver.keyed.step.apply(prepared, driver.store)
        driver.store.rollback()
        assert not driver.store.changes().operations
        assert records.records == [{"k": "a", "x": 2}, {"k": "b", "x": 3}]
        driver.run([Row({"k": "a", "x": 4})])
        assert [record["all"] for record in driver.records] == [[1, 4]]


# -- output and configuration ---------------------------------------------------------------------------------


def test_groups_are_named_by_field_by_expression_or_as_told() -> None:
    row = Row({"a": 1, "b": "x"})
    for by, names in [("a", ["a"]), ("a + 1", ["a + 1"]), (["a", "b.upper()"], ["a", "b.upper()"]),
                      ({"one": "a", "up": "b.upper()"}, ["one", "up"]), (["a", {"up": "b"}], ["a", "up"]),
                      (None, []), ([], [])]:  # fmt: skip
        config = Aggregate.model_validate({"by": by, "fields": {"n": "count()"}})
        (record,) = Driver(config).run([row]).records
        assert list(record) == [*names, "n"]


def test_windows_are_written_in_the_zone_that_is_asked_for() -> None:
    config = Aggregate.model_validate({"window": "1d", "tz": "Europe/Berlin", "fields": {"n": "count()"}})
    records = Driver(config).run([Row({}, event_time(f"2024-10-27T{hour}")) for hour in ("12:00", "22:30", "23:00")])
    assert [(record["window_start"], record["window_end"], record["n"]) for record in records.records] == [
        ("2024-10-27T00:00:00+02:00", "2024-10-28T00:00:00+01:00", 2),
        ("2024-10-28T00:00:00+01:00", "2024-10-29T00:00:00+01:00", 1),
    ]


def test_a_key_that_reads_as_a_timer_is_still_a_key() -> None:
    config = Aggregate.model_validate({"by": "k", "emit": "1s", "fields": {"n": "count()"}})
    driver = Driver(config).run([Row({"k": "emit"}), Row({"k": "emit"}), Row({"k": ""})])
    assert driver.records == [{"k": "", "n": 1}, {"k": "emit", "n": 2}]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"fields": {}}, "at least 1 item"),
        ({"fields": {"n": "cuont()"}}, "unknown aggregate function 'cuont' (did you mean count?)"),
        ({"by": "n", "fields": {"n": "count()"}}, "the field 'n' is there twice"),
        ({"window": "1m", "fields": {"window_end": "count()"}}, "the field 'window_end' is there twice"),
        ({"by": "window_start", "window": "1m", "fields": {"n": "count()"}}, "give the group's field another name"),
        ({"by": ["a", "a"], "fields": {"n": "count()"}}, "'a' is there twice"),
        ({"by": "a +", "fields": {"n": "count()"}}, "not a Python expression"),
        ({"by": "headers.topic", "fields": {"n": "count()"}}, "`by` cannot read headers"),
        ({"window": {"gap": "1m"}, "emit": "each", "fields": {"n": "count()"}}, "sessions have only `emit: final`"),
        ({"window": {"gap": "1m"}, "emit": "10s", "fields": {"n": "count()"}}, "sessions have only `emit: final`"),
        ({"window": {"count": 3}, "emit": "each", "fields": {"n": "count()"}}, "windows of a count have only"),
        ({"emit": "often", "fields": {"n": "count()"}}, "expected final, each, or a duration such as 10s, not 'often'"),
        ({"emit": 0, "fields": {"n": "count()"}}, "`emit` is a whole number of milliseconds"),
        ({"grace": "1m", "fields": {"n": "count()"}}, "`grace` is for windows of time and sessions"),
        ({"window": {"gap": "1m"}, "offset": "1m", "fields": {"n": "count()"}}, "`offset` is for windows of a size"),
        ({"tz": "Europe/Berlin", "fields": {"n": "count()"}}, "`tz` is for windows of time"),
        ({"window": "1d", "tz": "Europe/Berlim", "fields": {"n": "count()"}}, "did you mean Europe/Berlin?"),
        ({"window": {"size": "2h", "every": "1h"}, "tz": "Europe/Berlin", "fields": {"n": "count()"}},
         "windows that overlap are whole days"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_with_a_sentence(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Aggregate.model_validate(config)
    assert told in str(refused.value)


def test_a_stage_is_told_what_it_has_to_know() -> None:
    def keyed(**config: Any) -> Any:
        return Aggregate.model_validate({"by": "k", "fields": {"n": "count()"}, **config}).build_keyed(CONTEXT)

    windowed = keyed(window="1m", late_to="late", grace="5s")
    assert (windowed.upsert_by, windowed.late_to, windowed.grows, windowed.partition_by) == (
        None, "late", None, ("k",))  # fmt: skip
    assert keyed().grows == "an aggregate without a window keeps every key"
    assert keyed(by=["a", "b + 1"]).partition_by == ("a", "b + 1")
    goes = [Aggregate.model_validate({"fields": {"n": "count()"}, **more}).goes_by_time for more in (
        {}, {"window": {"count": 2}}, {"window": "1m"}, {"emit": "1s"}, {"fields": {"n": "last(x)"}})]  # fmt: skip
    assert goes == [False, False, True, True, True]
    same = [keyed(window="60s", fields={"other": "count( )"}), keyed(window="1m", grace="5s", late_to="drop")]
    assert {one.shape for one in same} == {windowed.shape}
    others = [keyed(), keyed(window="2m"), keyed(window="1m", by="j"), keyed(window="1m", emit="each"),
              keyed(window="1m", tz="Europe/Berlin"), keyed(window="1m", offset="1s"), keyed(window={"gap": "1m"}),
              keyed(window="1m", time="at"), keyed(window="1m", fields={"n": "sum(x)"})]  # fmt: skip
    assert len({one.shape for one in [windowed, *others]}) == len(others) + 1
    with pytest.raises(ValueError, match="`aggregate` keeps state"):
        Aggregate.model_validate({"fields": {"n": "count()"}}).build(CONTEXT)


def test_late_records_have_a_reason() -> None:
    config = Aggregate.model_validate({"window": "1m", "fields": {"n": "count()"}})
    driver = Driver(config)
    (outcome,) = driver.batch([Row({}, 0, END_OF_TIME)])
    assert isinstance(outcome, Late)
    assert outcome.reason.endswith("the watermark was at the end of the input")
