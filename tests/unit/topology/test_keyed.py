"""What keyed stages are refused for at validation, where, and with which words."""

from __future__ import annotations

import pytest

from papyra_flow.errors import Problem
from papyra_flow.topology.versions import kind_of_records, versions_in
from tests.harness.pipelines import PipelineFolder

COUNT = "aggregate: {by: customer, fields: {n: count()}}"
FINAL = "aggregate: {by: customer, window: 1m, fields: {n: count()}}"


def problems(folder: PipelineFolder, stages: str, streams: str = "") -> list[Problem]:
    lines = "".join(f"  {line}\n" for line in stages.strip().splitlines())
    folder.file.write_text(f"pipeline: p\nstreams: {{{streams}}}\nstages:\n{lines}")
    return folder.problems()


def messages(folder: PipelineFolder, stages: str, streams: str = "") -> list[str]:
    return [f"{found.message} ({found.hint})" for found in problems(folder, stages, streams)]


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("customer", "customer"), ("customer", "[customer, product]"), ("[customer, product]", "[customer, product]"),
        ("'a+b'", "'a + b'"), ("customer", "{c: customer}"),
    ],
)  # fmt: skip
def test_a_stream_by_the_key_or_a_part_of_it_keeps_each_key_in_one_partition(
    folder: PipelineFolder, by: str, key: str
) -> None:
    stage = f"a: {{from: s, process: [aggregate: {{by: {key}, fields: {{n: count()}}}}], to: t}}"
    assert messages(folder, stage, f"s: {{partitions: 4, by: {by}}}") == []


def test_input_by_something_else_is_refused_with_the_line_to_add(folder: PipelineFolder) -> None:
    stage = f"a: {{from: s, process: [{COUNT}], to: t}}"
    assert messages(folder, stage, "s: {partitions: 4, by: [customer, product]}") == [
        "'aggregate' has the key 'customer', and the partitions of 's' are by 'customer', 'product': records with one "
        "key may be in several (write `by: customer` for the stream 's')"
    ]
    (found,) = problems(folder, stage, "s: {by: product}")
    assert (found.line, found.code) == (4, "partitions")


def test_a_step_over_all_records_wants_one_partition(folder: PipelineFolder) -> None:
    stage = "a: {from: s, process: [aggregate: {fields: {n: count()}}], to: t}"
    assert messages(folder, stage, "s: {partitions: 2, by: x}") == [
        "'aggregate' takes all records together, and 's' has 2 partitions "
        "(say what it groups `by`, or give the stream `partitions: 1`)"
    ]
    assert messages(folder, stage, "s: {partitions: 1}") == []


def test_both_sides_of_a_join_are_partitioned_in_the_same_way(folder: PipelineFolder) -> None:
    stage = "a: {from: [s, u], process: [join: {on: {s: [a, b], u: [c, d]}, within: 1m}], to: t}"
    assert messages(folder, stage, "s: {by: [a, b]}, u: {by: [c, d]}") == []
    assert messages(folder, stage, "s: {by: [a, b]}, u: {by: [d, c]}") == [
        "'join' needs records with one key in partitions of the same number, and 'u' is by 'd', 'c', but 's' by "
        "'a', 'b' (write `by: [c, d]` for the stream 'u')"
    ]
    assert messages(folder, stage, "s: {by: a}, u: {by: a}")[0].endswith("(write `by: [c, d]` for the stream 'u')")


def test_a_stage_has_one_step_with_state(folder: PipelineFolder) -> None:
    stage = "a: {from: s, process: [{dedupe: order}, {aggregate: {by: order, fields: {n: count()}}}], to: t}"
    assert messages(folder, stage, "s: {}") == [
        "the stage 'a' has two steps that keep state, 'dedupe' and 'aggregate' "
        "(use another stage for 'aggregate': a stage has one such step)"
    ]


def test_a_stage_with_state_is_never_shared(folder: PipelineFolder) -> None:
    stage = f"a: {{from: s, process: [{COUNT}], to: t, ordered: false}}"
    (found,) = problems(folder, stage, "s: {}")
    assert (
        found.message
        == "'aggregate' keeps state, which needs one owner for each partition: `ordered: false` shares them"
    )
    assert folder.file.read_text().splitlines()[found.line - 1].strip().startswith("a:")  # type: ignore[operator]


def test_tables_have_no_keys_yet(folder: PipelineFolder) -> None:
    stage = f"a: {{from: s, process: [{COUNT}], to: t}}"
    assert messages(folder, stage, "s: {format: arrow}") == [
        "'aggregate' keeps state record by record, and 's' holds tables (read a stream with `format: json`)"
    ]


def test_one_writer_does_not_go_with_several_owners(folder: PipelineFolder) -> None:
    streams = "s: {partitions: 4, by: customer}"
    keyed = f"a: {{from: s, process: [{COUNT}], write: {{jsonl: out}}}}"
    assert messages(folder, keyed, streams) == [
        "jsonl: out has one writer, and the 4 partitions of 'a' may each have another owner "
        "(write to a stream, and from there in a stage of its own)"
    ]
    plain = "a: {from: s, write: {jsonl: out}}"
    assert "say `ordered: false` for 'a', or write to a stream" in messages(folder, plain, streams)[0]
    assert messages(folder, "a: {from: s, write: {jsonl: out}, ordered: false}", streams) == []
    assert messages(folder, keyed, "s: {}") == []


def test_new_versions_of_a_row_are_not_counted_beside_the_old_ones(folder: PipelineFolder) -> None:
    first = f"a: {{from: s, process: [{COUNT}], to: t}}"
    again = "c: {from: u, process: [aggregate: {fields: {n: count()}}], to: v}"
    stages = f"{first}\nb: {{from: t, process: [filter: n > 1], to: u}}\n{again}"
    assert messages(folder, stages, "s: {}") == [
        "'aggregate' takes each record of 'u' for one of its own, and they are new versions of rows (upsert by "
        "customer), as 'a' gives them (let 'a' give final results, or read what it reads)"
    ]
    assert messages(folder, stages.replace(COUNT, FINAL), "s: {time: at}") == []


def test_a_table_may_keep_versions_and_dedupe_lets_the_first_pass(folder: PipelineFolder) -> None:
    stages = f"a: {{from: s, process: [{COUNT}], to: t}}\nb: {{from: t, process: [dedupe: customer], to: u}}"
    assert messages(folder, stages, "s: {}") == []
    found = versions_in(folder.topology())
    assert [kind_of_records(found, name) for name in "stu"] == ["append", "upsert by customer", "append"]


def test_late_records_go_to_a_stream_that_is_the_stages_own(folder: PipelineFolder) -> None:
    late = "aggregate: {by: k, window: 1m, late_to: late, fields: {n: count()}}"
    stages = f"a: {{from: s, process: [{late}], to: t}}\nb: {{from: late, write: stdout}}"
    assert messages(folder, stages, "s: {}") == []
    assert folder.topology().stages["a"].outputs == ("t", "late")
    (found,) = messages(folder, f"a: {{from: s, process: [{late}], write: stdout}}", "s: {}")
    assert found == (
        "'a' writes to a sink, and its late records cannot go to the stream 'late' "
        "(write to a stream, and from there in a stage of its own)"
    )
