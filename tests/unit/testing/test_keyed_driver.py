"""Driving stages that keep state or order: failures, timers and the clock do what they do in a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow import Pipeline
from papyra_flow.errors import PipelineFailedError, UsageError
from papyra_flow.testing import Driver, drive
from tests.harness.pipelines import PipelineFolder

STEPS = """\
    from papyra_flow import Dead
    tries = []

    def before(record):
        if record["n"] == 3:
            raise Dead("three")
        if record["n"] == 4:
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("not yet")
        return record

    def behind(record):
        if record["k"] == "bad":
            raise ValueError("bad")
        return record
    """


def counting(folder: PipelineFolder, emit: str, more: str = "") -> Driver:
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        streams: {{s: {{time: at}}}}
        stages:
          count:
            from: s
            process:
              - run: {module}:before
              - aggregate: {{by: k, window: 10s, fields: {{n: count(), last: last(n)}}, emit: {emit}}}
              - run: {module}:behind
            retry: {{attempts: 3, backoff: 1h..1h}}
            to: t
            {more}
        """
    )
    return drive(folder.file)


def test_a_record_that_fails_behind_the_state_has_left_nothing_in_it(folder: PipelineFolder) -> None:
    with counting(folder, "each") as driver:
        driver.put("s", *({"k": k, "n": n, "at": 1} for n, k in enumerate(["a", "bad", "a", "a", "a", "bad"])))
        assert [(record["k"], record["n"], record["last"]) for record in driver.out("t")] == [
            ("a", 1, 0), ("a", 2, 2), ("a", 3, 4),
        ]  # fmt: skip
        letters = zip(driver.dead("count"), driver.dead_records("count"), strict=True)
        assert sorted((record["n"], letter.error, letter.deliveries) for letter, record in letters) == [
            (1, "ValueError: bad", 3), (3, "three", 1), (5, "ValueError: bad", 3),
        ]  # fmt: skip


def test_a_retry_holds_what_is_behind_it_and_changes_no_result(folder: PipelineFolder) -> None:
    with counting(folder, "final") as driver:
        driver.put("s", *({"k": "a", "n": n, "at": n} for n in range(6))).end()
        assert [(record["n"], record["last"]) for record in driver.out("t")] == [(5, 5)]
        assert driver.dead_records("count") == [{"k": "a", "n": 3, "at": 3}]


def test_what_fails_of_a_window_that_closes_is_dead_and_the_others_leave(folder: PipelineFolder) -> None:
    with counting(folder, "final") as driver:
        driver.put("s", *({"k": k, "n": 0, "at": 1} for k in ("a", "bad", "c")), {"k": "d", "n": 0, "at": 11})
        assert [record["k"] for record in driver.out("t")] == ["a", "c"]
        assert [(letter.error, letter.deliveries) for letter in driver.dead("count")] == [("ValueError: bad", 3)]
        assert driver.dead_records("count")[0]["k"] == "bad"
        assert [record["k"] for record in driver.end().out("t")] == ["a", "c", "d"]


def test_a_stage_that_halts_has_done_what_was_before(folder: PipelineFolder) -> None:
    with counting(folder, "each", "on_error: halt") as driver:
        with pytest.raises(PipelineFailedError, match="the stage 'count' halts: bad"):
            driver.put("s", {"k": "a", "n": 1, "at": 1}, {"k": "bad", "n": 2, "at": 1}, {"k": "a", "n": 5, "at": 1})
        assert [record["last"] for record in driver.out("t")] == [1]


def test_an_ordered_stage_keeps_the_order_where_a_shared_one_does_not(folder: PipelineFolder) -> None:
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        streams: {{s: {{}}}}
        defaults: {{retry: {{attempts: 3, backoff: 1h..1h}}}}
        stages:
          ordered: {{from: s, process: [{{run: "{module}:before"}}], to: a, ordered: true}}
          shared: {{from: a, process: [{{filter: 1 / (n - 5) < 9}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("s", *({"n": n} for n in range(7)))
        assert [record["n"] for record in driver.out("a")] == [0, 1, 2, 4, 5, 6]
        assert [record["n"] for record in driver.written("shared")] == [0, 1, 2, 4, 6]


def test_state_outlives_what_is_put_and_can_go_on_behind_the_end(folder: PipelineFolder) -> None:
    with counting(folder, "final") as driver:
        driver.put("s", {"k": "a", "n": 0, "at": 1}).put("s", {"k": "a", "n": 1, "at": 2}).end()
        assert [record["n"] for record in driver.out("t")] == [2]
        driver.put("s", {"k": "a", "n": 0, "at": 9}, {"k": "a", "n": 0, "at": 12}).end()
        assert [record["n"] for record in driver.out("t")] == [2, 1]
        assert driver.dead_records("count") == [{"k": "a", "n": 0, "at": 9}]


def test_partitions_have_a_watermark_each_and_records_go_where_a_run_puts_them(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        streams: {s: {time: at, partitions: 4, by: k}}
        stages:
          count: {from: s, process: [{aggregate: {by: k, window: 10s, fields: {n: count()}}}], to: t}
        """
    )
    with drive(folder.file) as driver:
        driver.put("s", *({"k": k, "at": at} for at in (1, 2) for k in "abcdef"))
        assert sum(len(driver.out(f"s/{number}")) for number in range(4)) == 12
        alone = [record for number in range(4) if {"k": "a", "at": 1} in (found := driver.out(f"s/{number}"))
                 for record in found]  # fmt: skip
        driver.put("s", {"k": "a", "at": 100})
        closed = {str(record["k"]) for record in driver.out("t")}
        assert closed == {str(record["k"]) for record in alone}
        assert sorted(str(record["k"]) for record in driver.advance("1m").out("t")) == sorted("aabcdef")


def test_what_is_written_to_a_sink_behind_the_state_is_what_it_would_write() -> None:
    pipeline = Pipeline("p").stream("s").stage("a", from_="s", process=[{"dedupe": "n"}], write={"csv": "out.csv"})
    with drive(pipeline) as driver:
        driver.put("s", {"n": 1}, {"n": 1}, {"n": 2}, {"n": 3, "m": 1})
        assert driver.written("a") == [{"n": 1}, {"n": 2}]
        assert len(driver.dead("a")) == 1


def test_a_test_in_python_can_stay_open() -> None:
    pipeline = Pipeline("p").stream("s", time="at")
    pipeline.stage("a", from_="s", process=[{"aggregate": {"window": "10s", "fields": {"n": "count()"}}}], to="t")
    pipeline.case("open", input={"s": [{"at": 1}]}, open=True, expect={"t": []})
    pipeline.case("closed", input={"s": [{"at": 1}]}, expect={"t": [{"n": 1}]}, partial=True)
    pipeline.case(
        "idle", input={"s": [{"at": 1}, {"advance": "1m"}]}, open=True, expect={"t": [{"n": 1}]}, partial=True
    )
    assert [problem for verdict in pipeline.test() for problem in verdict.problems] == []


def test_a_time_that_is_no_duration_is_refused() -> None:
    with drive(Pipeline("p").stream("s").stage("a", from_="s", to="t")) as driver:
        assert driver.advance("1m").advance(0.5).out("t") == []
        with pytest.raises(UsageError, match="advance: expected a duration such as 20ms, 5s or 1h, not 'soon'"):
            driver.advance("soon")


@settings(deadline=None, max_examples=25)
@given(
    times=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    pieces=st.lists(st.integers(1, 90_000), min_size=1, max_size=8),
)
def test_time_that_passes_in_pieces_is_time_that_passes_at_once(times: Sequence[int], pieces: Sequence[int]) -> None:
    """Through two stages, of which the second gets what the first one closes meanwhile."""
    pipeline = Pipeline("p").stream("s", time="at")
    pipeline.stage("a", from_="s", process=[{"aggregate": {"window": "10s", "fields": {"n": "count()"}}}], to="t")
    pipeline.stage("b", from_="t", process=[{"aggregate": {"window": "1m", "fields": {"n": "sum(n)"}}}], to="u",
                   idle_after="5s")  # fmt: skip
    records = [{"at": time} for time in times]
    with drive(pipeline) as at_once, drive(pipeline) as in_pieces:
        at_once.put("s", *records).advance(sum(pieces) / 1000)
        in_pieces.put("s", *records)
        for piece in pieces:
            in_pieces.advance(piece / 1000)
        assert in_pieces.out("u") == at_once.out("u")
        assert in_pieces.headers("u") == at_once.headers("u")
