"""`table`: the newest record of each key, whatever order they come in, and what held before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from papyra_flow.errors import RecordError
from papyra_flow.records.json_codec import read_json
from papyra_flow.spec.components import SetupContext
from papyra_flow.state.record_texts import record_of
from papyra_flow.state.versions import held_at, newest
from papyra_flow.steps.table import KeepTable
from tests.unit.state.partition import Partition, Row, in_order_of_time, keyed


def held(partition: Partition, key: object = "k") -> dict[str, Any] | None:
    """What a lookup would find now."""
    versions = read_json(partition.hash.get(json.dumps([key]).encode(), b"[]"))
    text = newest(versions) if versions else None
    return None if text is None else record_of(text)


def table(batch: int = 100, **fields: Any) -> Partition:
    return Partition(keyed({"table": {"key": "k", **fields}}), batch)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_the_newest_by_event_time_is_kept_and_all_pass(batch: int) -> None:
    rows = in_order_of_time([({"k": "k", "n": n}, time) for n, time in enumerate([5, 9, 9, 7])])
    partition = table(batch).run(rows)
    assert held(partition) == {"k": "k", "n": 2}
    assert [out.record["n"] for out in partition.outs] == [0, 1, 2, 3]
    assert partition.timers == {}
    assert partition.keyed.upsert_by == ("k",)


def test_a_deletion_forgets_the_key_and_what_is_older_does_not_bring_it_back() -> None:
    partition = table(delete="gone", grace="5ms")
    partition.run([Row({"k": "k", "gone": False}, 10, 0), Row({"k": "k", "gone": True}, 12, 10)])
    assert held(partition) is None
    partition.run([Row({"k": "k", "gone": False}, 11, 12)]).advance(17)
    assert held(partition) is None
    assert partition.hash
    partition.advance(18)
    assert (partition.hash, partition.timers) == ({}, {})
    partition.run([Row({"k": "k", "gone": False}, 12, 18), Row({"k": "k", "gone": False}, 13, 18)])
    assert partition.late == [{"k": "k", "gone": False}]
    assert held(partition) == {"k": "k", "gone": False}


def test_a_key_that_comes_back_needs_no_timer_any_more() -> None:
    partition = table(delete="gone").run([Row({"k": "k", "gone": True}, 10)])
    assert partition.timers
    partition.run([Row({"k": "k", "gone": False}, 11)])
    assert partition.timers == {}


def test_without_deletions_nothing_is_late() -> None:
    partition = table().run([Row({"k": "k"}, 0, 10**12)])
    assert (len(partition.outs), held(partition)) == (1, {"k": "k"})


def test_a_record_holds_for_its_ttl() -> None:
    partition = table(ttl="10ms").run([Row({"k": "k", "n": 0}, 0, 0), Row({"k": "k", "n": 1}, 5, 0)])
    assert held(partition.advance(15)) == {"k": "k", "n": 1}
    partition.advance(16)
    assert (partition.hash, partition.timers) == ({}, {})
    partition.run([Row({"k": "k", "n": 2}, 5, 16)])
    assert (len(partition.outs), partition.hash) == (3, {})


def test_the_ttl_of_a_table_with_a_history_ends_what_holds_and_keeps_what_held() -> None:
    partition = table(ttl="10ms", history="100ms").run([Row({"k": "k", "n": 1}, 5, 0)]).advance(16)
    assert held(partition) is None
    versions = read_json(partition.hash[b'["k"]'])
    assert [held_at(versions, time, 10) is not None for time in (4, 5, 15, 16)] == [False, True, True, False]
    partition.advance(116)
    assert (partition.hash, partition.timers) == ({}, {})


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_has_no_key_or_no_form_fails_alone(value: Any) -> None:
    partition = table(delete="d").run(
        [Row({"k": value, "d": 0}), Row({"k": 1, "d": 0, "x": {1: object()}}), Row({"k": 2}), Row({"k": "k", "d": 0})]
    )
    assert [isinstance(exc, RecordError) for exc in partition.failed] == [True] * 3
    assert list(partition.hash) == [b'["k"]']


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key": []}, "at least 1 item"),
        ({"key": "a", "ttl": 0}, "longer than 0"),
        ({"key": "a", "grace": "1s"}, "needs `delete`"),
        ({"key": "a", "delete": "headers.x"}, "`delete` cannot read headers"),
        ({"key": "headers.x"}, "`key` cannot read headers"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        KeepTable.model_validate(fields)


def test_it_never_runs_in_a_shared_stage() -> None:
    with pytest.raises(ValueError, match="keeps state"):
        KeepTable(key=["k"]).build(SetupContext(Path()))


def held_in(rows: list[Row], key: str, at: int, ttl: int | None) -> int | None:
    """The number of the record that held at a time, by a look at all records; None if there was none."""
    mine = [row for row in rows if row.record["k"] == key and row.time <= at]
    last = max(enumerate(mine), key=lambda item: (item[1].time, item[0]), default=(0, None))[1]
    if last is None or last.record["gone"] or (ttl is not None and at > last.time + ttl):
        return None
    number: int = last.record["n"]
    return number


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.booleans()), max_size=40),
    batch=st.sampled_from([1, 2, 5, 1000]),
    ttl=st.none() | st.integers(1, 30),
    history=st.none() | st.integers(1, 30),
    budget=st.sampled_from([0, 600, 10**6]),
    twice=st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_what_holds_and_what_held_is_what_all_records_say(
    rows: list[tuple[str, int, bool]], batch: int, ttl: int | None, history: int | None, budget: int, twice: bool
) -> None:
    came = in_order_of_time(({"k": k, "n": n, "gone": gone}, time) for n, (k, time, gone) in enumerate(rows))
    fields = {name: f"{ms}ms" for name, ms in (("ttl", ttl), ("history", history)) if ms is not None}
    step = {"table": {"key": "k", "delete": "gone", "grace": "60ms", **fields}}
    partition = Partition(keyed(step), batch, budget, twice).run(came)
    now = max((row.time for row in came), default=0)
    partition.advance(now)
    assert len(partition.outs) == len(rows)
    for key in "ab":
        versions = read_json(partition.hash.get(json.dumps([key]).encode(), b"[]"))
        text = newest(versions) if versions else None
        assert (None if text is None else record_of(text)["n"]) == held_in(came, key, now, ttl)
        for at in range(now - (history or 0), now + 1):
            text = held_at(versions, at, ttl)
            assert (None if text is None else record_of(text)["n"]) == held_in(came, key, at, ttl)
    partition.end()
    if ttl is not None:
        assert (partition.hash, partition.timers) == ({}, {})
    assert partition.timers == {}


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 99), st.booleans()), max_size=40),
    batches=st.tuples(st.integers(1, 7), st.integers(1, 50)),
    grace=st.integers(1, 30),
    history=st.none() | st.integers(1, 30),
    ttl=st.none() | st.integers(1, 30),
)
@settings(deadline=None, max_examples=200)
def test_batches_change_nothing_with_late_records_either(
    rows: list[tuple[str, int, bool]], batches: tuple[int, int], grace: int, history: int | None, ttl: int | None
) -> None:
    came = in_order_of_time(({"k": k, "n": n, "gone": gone}, time) for n, (k, time, gone) in enumerate(rows))
    fields = {name: f"{ms}ms" for name, ms in (("ttl", ttl), ("history", history)) if ms is not None}
    step = {"table": {"key": "k", "delete": "gone", "grace": f"{grace}ms", **fields}}
    one, other = (Partition(keyed(step), batch).run(came).advance(99) for batch in batches)
    assert (one.outs, one.late, one.hash, one.timers) == (other.outs, other.late, other.hash, other.timers)
