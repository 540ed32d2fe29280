"""Tests in pipeline files whose stages keep state: results that others document, and a clock that is moved."""

from __future__ import annotations

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.testing.cases import run_cases
from tests.harness.pipelines import PipelineFolder

WORD_COUNT = """\
pipeline: words
streams: {lines: {}}
stages:
  split:
    from: lines
    ordered: true
    process: [{set: {word: line.split()}}, {explode: word}, {map: {word: word}}]
    to: words
  count:
    from: words
    process: [{aggregate: {by: word, fields: {n: count()}, emit: each}}]
    to: counts
tests:
  the quickstart of Kafka Streams:
    input:
      lines: [{line: all streams lead to kafka}, {line: hello kafka streams}, {line: join kafka summit}]
    expect:
      counts:
        - {word: all, n: 1}
        - {word: streams, n: 1}
        - {word: lead, n: 1}
        - {word: to, n: 1}
        - {word: kafka, n: 1}
        - {word: hello, n: 1}
        - {word: kafka, n: 2}
        - {word: streams, n: 2}
        - {word: join, n: 1}
        - {word: kafka, n: 3}
        - {word: summit, n: 1}
"""

SESSIONS = """\
pipeline: game
streams: {scores: {time: at, partitions: PARTITIONS, by: user}}
stages:
  sessions:
    from: scores
    process: [{aggregate: {by: user, window: {gap: 10s}, fields: {n: count()}}}]
    to: played
tests:
  combine_sum_windowed of Beam:
    input:
      scores:
        - {user: alice, at: 1}
        - {user: alice, at: 3}
        - {user: bob, at: 7}
        - {user: bob, at: 12}
        - {user: bob, at: 20}
        - {user: alice, at: 101}
        - {user: alice, at: 109}
        - {user: alice, at: 115}
    expect:
      played:
        - {user: alice, window_start: "1970-01-01T00:00:01+00:00", window_end: "1970-01-01T00:00:13+00:00", n: 2}
        - {user: bob, window_start: "1970-01-01T00:00:07+00:00", window_end: "1970-01-01T00:00:30+00:00", n: 3}
        - {user: alice, window_start: "1970-01-01T00:01:41+00:00", window_end: "1970-01-01T00:02:05+00:00", n: 3}
"""

SECONDS = ", ".join(f"{{at: {second}, n: 5}}, {{at: {second}, n: 10}}" for second in range(120))
SUMS = f"""\
pipeline: numbers
streams: {{numbers: {{time: at}}}}
stages:
  by_key:
    from: numbers
    process: [{{aggregate: {{by: {{kind: "'even' if n % 2 == 0 else 'odd'"}}, window: 60s, fields: {{sum: sum(n)}}}}}}]
    to: sums
  all:
    from: numbers
    process: [{{aggregate: {{window: 60s, fields: {{sum: sum(n)}}}}}}]
    to: total
tests:
  the windowed sums of Numaflow:
    input: {{numbers: [{SECONDS}]}}
    partial: true
    expect:
      sums: [{{kind: even, sum: 600}}, {{kind: odd, sum: 300}}, {{kind: even, sum: 600}}, {{kind: odd, sum: 300}}]
      total: [{{sum: 900}}, {{sum: 900}}]
"""

DEDUPE = """\
pipeline: once
streams: {numbers: {}}
stages:
  once: {from: numbers, process: [{dedupe: n}], batch: {size: SIZE}, to: unique}
tests:
  the batches of Benthos:
    input:
      numbers: [{n: 1}, {n: 2}, {n: 3}, {n: 4}, {n: 3}, {n: 3}, {n: 3}, {n: 4}, {n: 1}, {n: 1}, {n: 3}, {n: 4}, {n: 2}]
    expect: {unique: [{n: 1}, {n: 2}, {n: 3}, {n: 4}]}
"""

JOIN = """\
pipeline: paid
streams: {orders: {time: at}, payments: {time: at}}
stages:
  paid:
    from: [orders, payments]
    process: [{join: {on: {orders: id, payments: order}, within: 10s, kind: left, into: {orders: o, payments: p}}}]
    to: paid
tests:
  pairs leave at once, and what is not paid when that cannot be any more:
    input:
      orders: [{id: a, at: 1}, {id: b, at: 2}]
      payments: [{order: a, at: 5}]
    expect:
      paid:
        - {o: {id: a, at: 1}, p: {order: a, at: 5}}
        - {o: {id: b, at: 2}, p: null}
  while more may come nothing is given up:
    open: true
    input:
      orders: [{id: a, at: 1}, {id: b, at: 2}]
      payments: [{order: a, at: 5}]
    expect: {paid: [{o: {id: a, at: 1}, p: {order: a, at: 5}}]}
  where both are idle for long enough it is:
    open: true
    input:
      orders: [{id: b, at: 2}]
      payments: [{advance: 1m}, {order: b, at: 3}]
    expect: {paid: [{o: {id: b, at: 2}, p: null}]}
    dead: {paid: [{error: "behind the watermark (`grace` is 0)"}]}
"""

LATE = """\
pipeline: late
streams: {s: {time: at}}
stages:
  dead: {from: s, process: [{aggregate: {window: 10s, grace: 5s, fields: {n: count()}}}], to: a}
  apart:
    from: s
    process: [{aggregate: {window: 10s, grace: 5s, fields: {n: count()}, late_to: late}}]
    to: b
  gone: {from: s, process: [{aggregate: {window: 10s, grace: 5s, fields: {n: count()}, late_to: drop}}], to: c}
tests:
  a record is late when its window has closed:
    input: {s: [{at: 1}, {at: 14}, {at: 2}, {at: 15}, {at: 3}]}
    partial: true
    expect: {a: [{n: 2}, {n: 2}], b: [{n: 2}, {n: 2}], c: [{n: 2}, {n: 2}], late: [{at: 3}]}
    dead: {dead: [{record: {at: 3}}]}
"""

CLOCK = """\
pipeline: clock
streams: {s: {}}
stages:
  first: {from: s, process: [{aggregate: {by: k, window: 1m, fields: {n: count()}}}], to: minutes}
  second:
    from: minutes
    process: [{aggregate: {by: k, window: 5m, fields: {minutes: count()}}}]
    idle_after: 30s
    to: five
tests:
  records come when the clock says:
    input: {s: [{k: a}, {advance: 59s}, {k: a}, {advance: 1s}, {k: a}]}
    partial: true
    expect: {minutes: [{k: a, n: 2}, {k: a, n: 1}], five: [{k: a, minutes: 2}]}
  nothing closes before inputs are idle:
    open: true
    input: {s: [{k: a}, {advance: 59s}, {advance: 999ms}]}
    expect: {minutes: []}
  idle inputs close what is open, up to the stage at the end:
    open: true
    input: {s: [{k: a}, {advance: 1m}, {k: b}, {advance: 10m}]}
    partial: true
    expect: {minutes: [{k: a, n: 1}, {k: b, n: 1}], five: [{k: a, minutes: 1}, {k: b, minutes: 1}]}
"""

LOOKUP = """\
pipeline: named
streams: {changes: {partitions: PARTITIONS, by: id, time: at}, orders: {time: at}}
stages:
  customers: {from: changes, process: [{table: {key: id, history: 1h}}], to: changed}
  named: {from: orders, process: [{lookup: {table: customers, on: customer, as: who, fields: [name]}}], to: named}
  then:
    from: orders
    process: [{lookup: {table: customers, on: customer, as: who, as_of: at}}, {set: {who: who.name}}]
    to: was
tests:
  a lookup finds what the stage has committed, and what held then:
    input:
      changes: [{id: a, name: Ann, at: 1}, {id: b, name: Bob, at: 2}, {id: a, name: Anna, at: 9}]
      orders: [{customer: a, at: 5}, {customer: b, at: 5}]
    expect:
      named: [{customer: a, at: 5, who: {name: Anna}}, {customer: b, at: 5, who: {name: Bob}}]
      was: [{customer: a, at: 5, who: Ann}, {customer: b, at: 5, who: Bob}]
"""


def check(folder: PipelineFolder, text: str) -> None:
    folder.pipeline(text)
    spec = load_pipeline(folder.file, environment={})
    assert spec.config.tests
    assert [problem for verdict in run_cases(spec, folder.file) for problem in verdict.problems] == []


@pytest.mark.parametrize("text", [WORD_COUNT, SUMS, JOIN, LATE, CLOCK], ids=["words", "sums", "join", "late", "clock"])
def test_stages_that_keep_state_pass_their_own_tests(folder: PipelineFolder, text: str) -> None:
    check(folder, text)


@pytest.mark.parametrize("partitions", [1, 2])
def test_sessions_are_the_same_for_any_number_of_partitions(folder: PipelineFolder, partitions: int) -> None:
    check(folder, SESSIONS.replace("PARTITIONS", str(partitions)))


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_table_that_a_stage_keeps_can_be_asked(folder: PipelineFolder, partitions: int) -> None:
    check(folder, LOOKUP.replace("PARTITIONS", str(partitions)))


@pytest.mark.parametrize("size", [1, 5, 100])
def test_what_was_seen_in_a_batch_before_is_known(folder: PipelineFolder, size: int) -> None:
    check(folder, DEDUPE.replace("SIZE", str(size)))


def test_a_clock_that_is_moved_by_no_duration_is_a_problem_of_its_line(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, to: t}}
        streams: {s: {}}
        tests:
          one: {input: {s: [{advance: soon}, 5, {advance: soon, n: 1}]}}
        """
    )
    told = [str(problem).splitlines()[0] for problem in folder.problems()]
    assert [line.partition("pipeline.yml:")[2] for line in told] == [
        "5:21: expected a duration such as 20ms, 5s or 1h, not 'soon'",
        "5:38: expected a record, or `advance: 1m`, not 5",
    ]
