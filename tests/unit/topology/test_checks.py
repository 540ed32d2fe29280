"""The planner's checks: what is refused, where, and with which words."""

from __future__ import annotations

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.topology import tables
from papyra_flow.topology.build import build_topology
from tests.harness.pipelines import PipelineFolder

HEAD = "pipeline: p\nstages:\n"


def codes(folder: PipelineFolder, stages: str, rest: str = "") -> list[str]:
    folder.file.write_text(HEAD + "".join(f"  {line}\n" for line in stages.strip().splitlines()) + rest)
    return [problem.code for problem in folder.problems()]


def test_a_chain_is_fine(folder: PipelineFolder) -> None:
    assert codes(folder, "a: {read: stdin, to: s}\nb: {from: s, to: t}\nc: {from: t, write: stdout}") == []


def test_a_cycle_is_shown(folder: PipelineFolder) -> None:
    assert codes(folder, "a: {from: s, to: t}\nb: {from: t, to: u}\nc: {from: u, to: s}") == ["cycle"]
    (problem,) = folder.problems()
    assert problem.message == "the stages form a cycle: a -> t -> b -> u -> c -> s -> a"
    assert problem.line == 3


def test_a_stage_that_feeds_itself_is_a_cycle(folder: PipelineFolder) -> None:
    assert codes(folder, "a: {from: s, to: s}") == ["cycle"]


def test_a_stream_that_nobody_writes_is_refused_unless_it_is_declared_or_exists(folder: PipelineFolder) -> None:
    stages = "a: {read: stdin, to: raw}\nb: {from: rwa, write: stdout}"
    assert codes(folder, stages) == ["unwritten-stream"]
    assert folder.problems()[0].hint == "did you mean raw?"
    assert codes(folder, stages, "streams: {rwa: {}}\n") == []
    folder.file.write_text(HEAD + "  b: {from: s, write: stdout}\n")
    assert build_topology(load_pipeline(folder.file), existing=frozenset({"{p}:s"})).streams["s"].key == "{p}:s"


def test_two_stages_in_one_group_on_one_stream_are_refused(folder: PipelineFolder) -> None:
    stages = "a: {read: stdin, to: s}\nb: {from: s, write: stdout, group: g}\nc: {from: s, to: t, group: g}"
    assert codes(folder, stages) == ["shared-group"]
    assert codes(folder, stages.replace("group: g}", "group: h}", 1)) == []


@pytest.mark.parametrize(
    ("stages", "rest", "code"),
    [
        ("a: {read: stdin, to: s}", "streams: {other: {}}\n", "unused-stream"),
        ("a: {read: stdin, to: [s, t], match: all}", "streams: {s: {key: k}, t: {key: k}}\n", "shared-key"),
        ("a: {read: stdin, to: [s, t]}", "", "unreachable-route"),
        ("a: {read: stdin, to: [{stream: s, when: 'x >'}, t]}", "", "expression"),
        ("a: {read: stdin, process: [{run: 'nowhere:f'}], to: s}", "", "step"),
        ("a: {read: stdin, process: [{lookup: {csv: no.csv, on: x}}], to: s}", "", "step"),
        ("a: {read: stdin, write: {jsonl: o}, consumers: 2}", "", "exclusive-sink"),
        ("a: {read: stdin, write: {jsonl: o}}\nb: {read: stdin, write: {jsonl: o}}", "", "shared-file"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: PipelineFolder, stages: str, rest: str, code: str) -> None:
    assert codes(folder, stages, rest) == [code]


def test_all_problems_of_a_topology_are_told_at_once(folder: PipelineFolder) -> None:
    stages = "a: {from: x, process: [{run: 'nowhere:f'}], to: s}\nb: {from: y, to: [{stream: t, when: '1 +'}]}"
    assert codes(folder, stages) == ["unwritten-stream", "step", "unwritten-stream", "expression"]


FED = "f: {read: stdin, to: orders}\ng: {read: stdin, to: payments}\n"
WRITE = "write `from: [orders, payments]`"


@pytest.mark.parametrize(
    ("reads", "on", "told", "hint"),
    [
        ("[orders, payments]", "orders: a, payments: b", None, None),
        ("[payments, orders]", "orders: a, payments: b", None, None),
        ("[orders, payments]", "orders: a, payment: b", "names the stream 'payment'", "did you mean payments?"),
        ("orders", "orders: a, payments: b", "names the stream 'payments'", WRITE),
        ("[orders, payments, others]", "orders: a, payments: b", "reads 'others'", WRITE),
    ],
)
def test_a_join_names_the_streams_that_its_stage_reads(
    folder: PipelineFolder, reads: str, on: str, told: str | None, hint: str | None
) -> None:
    stages = f"{FED}j: {{from: {reads}, process: [{{join: {{on: {{{on}}}, within: 1m}}}}], to: t}}"
    declared = "streams: {others: {}, payments: {}, orders: {}}\n" if "others" in reads else "streams: {payments: {}}\n"
    assert codes(folder, stages, declared) == ([] if told is None else ["unread-stream"])
    for problem in folder.problems():
        assert told is not None
        assert told in problem.message
        assert (problem.hint, problem.line) == (hint, 5)


@pytest.mark.parametrize(
    ("lookup", "told"),
    [
        ("{table: customers, on: c}", None),
        ("{table: customer, on: c}", "there is no stage 'customer': did you mean customers?"),
        ("{table: named, on: c}", "the stage 'named' keeps no table: it has no step `table`"),
        ("{table: customers, on: c, as_of: time}", "the table of 'customers' has no `history`"),
    ],
)
def test_a_lookup_in_a_table_needs_a_stage_that_keeps_one(
    folder: PipelineFolder, lookup: str, told: str | None
) -> None:
    stages = f"{FED}customers: {{from: payments, process: [{{table: c}}], to: changed}}\n"
    stages += f"named: {{from: orders, process: [{{lookup: {lookup}}}], to: t}}"
    assert codes(folder, stages) == ([] if told is None else ["step"])
    assert all(told is not None and told in problem.message and problem.line == 6 for problem in folder.problems())


CONTRACTS = """\
    from collections.abc import Iterator
    from pydantic import BaseModel

    class Order(BaseModel):
        n: int
        note: str | None = None

    class Priced(BaseModel):
        n: int
        price: float

    class Loose(BaseModel):
        n: float

    def price(order: Order) -> Priced: return Priced(n=order.n, price=1.0)
    def order(record: dict) -> Iterator[Order]: yield Order(n=1)
    def ship(priced: Priced) -> dict: return {}
    def count(loose: Loose) -> None: return None
    """


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ("price", "ship", True),
        ("order", "price", True),
        ("order", "count", True),  # an int is a float
        ("order", "ship", False),  # no price
        ("ship", "price", True),  # a dict may be anything
    ],
)
def test_annotated_types_have_to_fit_across_a_link(folder: PipelineFolder, first: str, second: str, fits: bool) -> None:
    module = folder.steps(CONTRACTS)
    found = codes(
        folder,
        f"a: {{read: stdin, process: [{{run: '{module}:{first}'}}], to: s}}\n"
        f"b: {{from: s, process: [{{filter: n > 0}}, {{run: '{module}:{second}'}}], write: stdout}}",
    )
    assert found == ([] if fits else ["contract"])


def test_annotated_types_have_to_fit_within_a_stage_and_the_message_says_why(folder: PipelineFolder) -> None:
    module = folder.steps(CONTRACTS)
    stages = f"a: {{read: stdin, process: [{{run: '{module}:order'}}, {{run: '{module}:ship'}}], to: s}}"
    assert codes(folder, stages) == ["contract"]
    assert folder.problems()[0].message == "'a' sends Order, which does not fit Priced: the field 'price' is missing"


def test_a_step_that_changes_the_shape_ends_what_is_known(folder: PipelineFolder) -> None:
    module = folder.steps(CONTRACTS)
    steps = f"[{{run: '{module}:order'}}, {{set: {{price: 1}}}}, {{run: '{module}:ship'}}]"
    stages = f"a: {{read: stdin, process: {steps}, to: s}}"
    assert codes(folder, stages) == []


TABLES = "streams: {t: {format: arrow}, u: {format: arrow}, s: {}}\n"


@pytest.mark.parametrize(
    ("stages", "code", "words"),
    [
        ("a: {from: [s, t], to: u}", "mixed-input", "reads tables from 't' and records from 's'"),
        (
            "a: {from: s, to: [t, u], match: all}",
            "records-to-tables",
            "'t' holds tables, but the stage 'a' has records",
        ),
        ("a: {from: t, process: [batch], to: u}", "step", "its input is already tables"),
        ("a: {from: s, process: [batch, batch], to: [t, u], match: all}", "step", "already tables"),
        ("a: {from: s, process: [{sql: SELECT 1}, batch], to: [t, u], match: all}", "step", "already tables"),
        ("a: {from: t, process: [{sql: SELEC 1}], to: u}", "step", "Parser Error: syntax error at or near"),
        ("a: {from: t, process: [{sql: SELECT 1; SELECT 2}], to: u}", "step", "one SELECT statement"),
        ("a: {from: t, process: [{sql: DROP TABLE batch}], to: u}", "step", "one SELECT statement"),
    ],
)
def test_tables_and_records_meet_only_where_one_can_become_the_other(
    folder: PipelineFolder, stages: str, code: str, words: str
) -> None:
    assert code in codes(folder, stages, TABLES)
    assert words in next(problem.message for problem in folder.problems() if problem.code == code)


def test_a_function_of_tables_is_refused_where_there_are_records(folder: PipelineFolder) -> None:
    module = folder.steps("import pyarrow as pa\n\ndef step(table: pa.Table) -> pa.Table:\n    return table\n")
    assert codes(folder, f"a: {{from: s, process: [{{run: '{module}:step'}}], to: x}}", "streams: {s: {}}\n") == [
        "step"
    ]
    assert "takes a table: put a `batch` step before it" in folder.problems()[0].message


def test_tables_without_what_they_need_are_refused_with_the_cure(
    folder: PipelineFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    assert codes(folder, "a: {read: stdin, to: t}", "streams: {t: {format: arrow}}\n") == ["arrow-missing"]
    (problem,) = folder.problems()
    assert (problem.message, problem.hint) == ("tables need pyarrow and duckdb", "pip install 'papyra-flow[arrow]'")
