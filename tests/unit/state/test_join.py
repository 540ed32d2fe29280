"""`join`: every pair of records that lie close enough leaves once, and what stays alone when that is certain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from papyra_flow.errors import RecordError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.join import Join
from tests.unit.state.partition import Out, Partition, Row, keyed

ON = {"orders": "id", "payments": "order"}


def joined(batch: int = 100, **fields: Any) -> Partition:
    given_fields = {"on": ON, "within": "10ms", "into": {"payments": "payment", "orders": "order"}, **fields}
    return Partition(keyed({"join": given_fields}), batch)


def order(number: Any, time: int, watermark: int = 0, **more: Any) -> Row:
    return Row({"id": number, **more}, time, watermark, "orders")


def payment(number: Any, time: int, watermark: int = 0, **more: Any) -> Row:
    return Row({"order": number, **more}, time, watermark, "payments")


def test_a_pair_leaves_once_at_the_later_time_under_the_names_that_were_said() -> None:
    rows = [order(1, 100, price=5), payment(2, 101), payment(1, 93, paid=5)]
    assert joined().run(rows).outs == [Out({"order": {"id": 1, "price": 5}, "payment": {"order": 1, "paid": 5}}, 100)]


def test_without_into_a_record_stands_under_its_stream_s_name() -> None:
    (out,) = joined(into={}).run([payment(1, 5), order(1, 6)]).outs
    assert out.record == {"orders": {"id": 1}, "payments": {"order": 1}}


@pytest.mark.parametrize(("time", "pairs"), [(89, 0), (90, 1), (100, 1), (110, 1), (111, 0)])
def test_both_ends_are_within(time: int, pairs: int) -> None:
    assert len(joined().run([order(1, 100), payment(1, time)]).outs) == pairs
    assert len(joined().run([payment(1, time), order(1, 100)]).outs) == pairs


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_all_pairs_leave_in_the_order_of_what_waited(batch: int) -> None:
    rows = [order(1, 8, n=0), order(1, 5, n=1), order(1, 8, n=2), order(1, 99, n=3), payment(1, 7), payment(1, 8)]
    outs = joined(batch).run(rows).outs
    assert [(out.record["order"]["n"], out.time) for out in outs] == [(1, 7), (0, 8), (2, 8), (1, 8), (0, 8), (2, 8)]


def test_what_may_leave_alone_does_when_within_and_grace_have_passed() -> None:
    partition = joined(kind="left", grace="5ms").run([order(1, 100), payment(2, 100), order(3, 100), payment(3, 104)])
    assert len(partition.outs) == 1
    assert len(partition.advance(115).outs) == 1
    assert partition.advance(116).outs[1:] == [Out({"order": {"id": 1}, "payment": None}, 100)]
    partition.advance(120)
    assert (partition.hash, partition.timers) == ({}, {})


def test_what_leaves_alone_leaves_in_the_order_of_time_then_key() -> None:
    rows = [order("b", 7), order("a", 7), payment("a", 6), payment("c", 40), order("c", 5)]
    outs = joined(kind="outer", within="1ms").run(rows).end().outs
    assert [out.record for out in outs] == [
        {"order": {"id": "a"}, "payment": {"order": "a"}},
        {"order": {"id": "c"}, "payment": None},
        {"order": {"id": "b"}, "payment": None},
        {"order": None, "payment": {"order": "c"}},
    ]


def test_a_record_further_behind_the_watermark_than_grace_is_late() -> None:
    partition = joined(grace="5ms", kind="outer")
    partition.run([order(1, 100, 100), payment(1, 95, 100), payment(1, 94, 100)]).end()
    assert (len(partition.outs), partition.late) == (1, [{"order": 1}])


@pytest.mark.parametrize(("kind", "alone"), [("inner", []), ("left", ["order"]), ("outer", ["order", "payment"])])
def test_a_null_key_equals_no_other(kind: str, alone: list[str]) -> None:
    partition = joined(kind=kind).run([order(None, 1), payment(None, 1)])
    assert [name for out in partition.outs for name, found in out.record.items() if found] == alone
    assert partition.dropped == 2 - len(alone)
    assert (partition.hash, partition.timers) == ({}, {})


def test_what_was_taken_back_has_met_no_other() -> None:
    partition = joined(kind="outer").run([order(1, 1)])
    partition.take_back([payment(1, 2)])
    assert partition.end().outs == [Out({"order": {"id": 1}, "payment": None}, 1)]


def test_a_record_that_cannot_be_kept_fails_alone() -> None:
    partition = joined().run([order(1, 1, bad=float("nan")), order(1, 2), Row({}, 3, 0, "payments"), payment(1, 3)])
    assert [isinstance(exc, RecordError) for exc in partition.failed] == [True, True]
    assert [out.record for out in partition.outs] == [{"order": {"id": 1}, "payment": {"order": 1}}]


def test_records_meet_as_they_would_come_back_from_the_server() -> None:
    big, text = 2**80 + 1, 'é"\\'
    partition = joined(batch=1).run([order([1, "x"], 1, n=big, t=text), payment([1.0, "x"], 1)])
    assert partition.outs[0].record["order"] == {"id": [1, "x"], "n": big, "t": text}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"on": {"a": "x"}}, "two streams"),
        ({"on": {"a": "x", "b": "y", "c": "z"}}, "two streams"),
        ({"on": {"a": ["x", "y"], "b": "y"}}, "compares 2 of 'a' with 1 of 'b'"),
        ({"on": {"a": [], "b": []}}, "compares 0"),
        ({"on": {"a": "x", "b": "headers.y"}}, "headers"),
        ({"into": {"c": "x"}}, "not in `on`"),
        ({"into": {"a": "b"}}, "both records would be the field 'b'"),
        ({"kind": "right"}, "'inner', 'left' or 'outer'"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Join.model_validate({"on": {"a": "x", "b": "y"}, "within": "1s", **fields})


def test_it_never_runs_in_a_shared_stage() -> None:
    with pytest.raises(ValueError, match="keeps state"):
        Join.model_validate({"on": ON, "within": "1s"}).build(SetupContext(Path()))


def expected(rows: list[Row], within: int, grace: int, kind: str) -> Counter[tuple[Any, ...]]:
    """What a database makes of the records that are not late: the numbers of both, and the later time."""
    connection = duckdb.connect()
    for stream in ("orders", "payments"):
        connection.execute(f"create table {stream} (n integer, k integer, t bigint)")
        values = [
            (row.record["n"], row.record["k"], row.time)
            for row in rows
            if row.stream == stream and row.watermark - row.time <= grace
        ]
        if values:
            connection.executemany(f"insert into {stream} values (?, ?, ?)", values)
    found = connection.execute(
        f"select o.n, p.n, greatest(o.t, p.t) from orders o {kind} join payments p "
        f"on o.k = p.k and abs(o.t - p.t) <= {within}"
    ).fetchall()
    return Counter(found)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["orders", "payments"]), st.sampled_from([1, 2, 3, None]), st.integers(0, 50)),
        max_size=50,
    ),
    batch=st.sampled_from([1, 2, 5, 1000]),
    within=st.integers(0, 15),
    grace=st.integers(0, 40),
    kind=st.sampled_from(["inner", "left", "full"]),
    behind=st.integers(0, 10),
    budget=st.sampled_from([0, 600, 10**6]),
    twice=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_pairs_are_those_of_a_database(
    rows: list[tuple[str, int | None, int]], batch: int, within: int, grace: int, kind: str, behind: int,
    budget: int, twice: bool,
) -> None:  # fmt: skip
    came, watermark = [], -(2**62)
    for n, (stream, key, time) in enumerate(rows):
        came.append(Row({"k": key, "n": n}, time, watermark, stream))
        watermark = max(watermark, time - behind)
    fields = {"on": {"orders": "k", "payments": "k"}, "within": f"{within}ms", "grace": f"{grace}ms"}
    step = {"join": {**fields, "kind": kind.replace("full", "outer")}}
    partition = Partition(keyed(step), batch, budget, twice).run(came).end()
    numbers = [
        (*((out.record[name] or {}).get("n") for name in ("orders", "payments")), out.time) for out in partition.outs
    ]
    assert Counter(numbers) == expected(came, within, grace, kind)
    assert [record["n"] for record in partition.late] == [
        row.record["n"] for row in came if row.watermark - row.time > grace
    ]
    assert (partition.hash, partition.timers) == ({}, {})
