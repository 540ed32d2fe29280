"""`dedupe`: the first record of a key passes, whatever the batches, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from papyra_flow.errors import RecordError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.dedupe import Dedupe
from tests.unit.state.partition import Partition, Row, in_order_of_time, keyed

BENTHOS = [["1", "2", "3", "4", "3", "3", "3"], ["4", "1", "1", "3", "4", "4", "2", "1"]]
"""Benthos' own test of its dedupe processor: two batches, of which 1 2 3 4 is left."""


def ids(partition: Partition) -> list[Any]:
    return [out.record["id"] for out in partition.outs]


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 100])
@pytest.mark.parametrize("within", [None, "1h"])
def test_what_benthos_lets_pass_passes(batch: int, within: str | None) -> None:
    step = {"dedupe": {"by": "id"} | ({"within": within} if within else {})}
    partition = Partition(keyed(step), batch)
    for texts in BENTHOS:
        partition.run([Row({"id": text}) for text in texts])
    assert ids(partition) == ["1", "2", "3", "4"]
    assert partition.dropped == 11


def test_a_key_is_seen_by_the_next_owner_too() -> None:
    """State is what was committed: an owner that has nothing in memory drops what another let pass."""
    first = Partition(keyed({"dedupe": "id"})).run([Row({"id": text}) for text in BENTHOS[0]])
    second = Partition(keyed({"dedupe": "id"}), hash=first.hash, timers=first.timers)
    assert ids(second.run([Row({"id": text}) for text in BENTHOS[1]])) == []


@pytest.mark.parametrize(
    ("times", "passed"),
    [
        ([0, 10], [0]),  # the end is within
        ([0, 11], [0, 11]),
        ([0, 10, 20], [0, 20]),  # what did not pass is not remembered
        ([100, 90], [100]),  # earlier, but within
        ([100, 89], [100, 89]),
        ([100, 89, 105, 95, 80], [100, 89]),
        ([-5, 5, 6], [-5, 6]),
    ],
)
def test_within_counts_from_the_record_that_passed(times: list[int], passed: list[int]) -> None:
    partition = Partition(keyed({"dedupe": {"by": "k", "within": "10ms", "grace": "1h"}}))
    partition.run(in_order_of_time(({"k": 1, "t": time}, time) for time in times))
    assert [out.record["t"] for out in partition.outs] == passed


def test_what_is_remembered_is_forgotten_when_nothing_can_come_any_more() -> None:
    partition = Partition(keyed({"dedupe": {"by": "k", "within": "10ms", "grace": "5ms"}}))
    partition.run([Row({"k": "a"}, 100, 100)])
    assert partition.advance(115).hash == {b'["a"]': b"[100]"}
    partition.advance(116)
    assert (partition.hash, partition.timers) == ({}, {})


def test_a_record_too_far_behind_the_watermark_is_late() -> None:
    step = {"dedupe": {"by": "k", "within": "10ms", "grace": "5ms"}}
    partition = Partition(keyed(step)).run([Row({"k": 1}, 95, 100), Row({"k": 2}, 94, 100)])
    assert (len(partition.outs), partition.late) == (1, [{"k": 2}])
    default = Partition(keyed({"dedupe": {"by": "k", "within": "10ms"}}))
    default.run([Row({"k": 1}, 90, 100), Row({"k": 2}, 89, 100)])
    assert default.late == [{"k": 2}]


@pytest.mark.parametrize("key", [None, float("nan"), "\ud800"])
def test_a_key_that_is_none_fails_its_record_alone(key: Any) -> None:
    partition = Partition(keyed({"dedupe": ["a", "k"]}), 10)
    partition.run([Row({"a": 1, "k": "x"}), Row({"a": 1, "k": key}), Row({"a": 1}), Row({"a": 1, "k": "y"})])
    assert [out.record["k"] for out in partition.outs] == ["x", "y"]
    assert [isinstance(exc, RecordError) for exc in partition.failed] == [True, True]


def test_keys_are_equal_as_json_is() -> None:
    partition = Partition(keyed({"dedupe": "k"}))
    values: list[Any] = [1, 1.0, "1", True, 2**70, 2**70, 2**70 + 1, {"a": 1, "b": 2}, {"b": 2, "a": 1}, [1], "é"]
    partition.run([Row({"k": value}) for value in values])
    assert [out.record["k"] for out in partition.outs] == [1, "1", True, 2**70, 2**70 + 1, {"a": 1, "b": 2}, [1], "é"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"by": "headers.id"}, "headers"),
        ({"by": []}, "at least 1 item"),
        ({"by": "a", "grace": "1s"}, "needs `within`"),
        ({"by": "a", "within": 0}, "longer than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Dedupe.model_validate(fields)


def test_it_never_runs_in_a_shared_stage() -> None:
    with pytest.raises(ValueError, match="keeps state"):
        Dedupe(by=["a"]).build(SetupContext(Path()))


def expected(rows: list[Row], within: int, grace: int) -> tuple[list[int], list[int]]:
    """What passes and what is late: a serial run that forgets nothing."""
    passed: dict[Any, list[int]] = {}
    outs, late = [], []
    for row in rows:
        firsts = passed.setdefault(row.record["k"], [])
        if row.watermark - row.time > grace:
            late.append(row.record["n"])
        elif all(abs(row.time - first) > within for first in firsts):
            firsts.append(row.time)
            outs.append(row.record["n"])
    return outs, late


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=60),
    batch=st.sampled_from([1, 2, 3, 7, 1000]),
    within=st.integers(1, 20),
    grace=st.integers(0, 30),
    budget=st.sampled_from([0, 500, 10**6]),
    twice=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_batches_and_forgetting_change_nothing(
    rows: list[tuple[str, int]], batch: int, within: int, grace: int, budget: int, twice: bool
) -> None:
    given_rows = in_order_of_time(({"k": key, "n": n}, time) for n, (key, time) in enumerate(rows))
    step = {"dedupe": {"by": "k", "within": f"{within}ms", "grace": f"{grace}ms" if grace else 0}}
    partition = Partition(keyed(step), batch, budget, twice).run(given_rows).end()
    outs, late = expected(given_rows, within, grace)
    assert [out.record["n"] for out in partition.outs] == outs
    assert [record["n"] for record in partition.late] == late
    assert partition.dropped == len(rows) - len(outs) - len(late)
    assert (partition.hash, partition.timers) == ({}, {})
