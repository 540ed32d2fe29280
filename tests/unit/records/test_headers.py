"""`headers` in an expression: those of the entry, in every step and route, on records and on tables."""

from __future__ import annotations

from typing import Any

import pytest

from papyra_flow.errors import InvalidPipelineError
from papyra_flow.expressions.compiled import compile_expression
from papyra_flow.records.batch import Batch
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.processing import Processor
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each
from papyra_flow.steps.filter import Filter
from papyra_flow.steps.map import MapFields, SetFields
from papyra_flow.testing.driver import drive
from tests.harness.pipelines import PipelineFolder

STEPS = """
import papyra_flow as pf
def mark(record):
    return pf.Emit(record, headers={"topic": record["t"], "lang": "é"})
def table(table):
    return pf.Emit(table, headers={"topic": "a"})
"""


def batch(*entries: list[bytes]) -> Batch:
    return Batch("k", [b"%d-0" % number for number in range(len(entries))], entries)


async def through(step: Any, *entries: list[bytes]) -> tuple[list[Any], dict[int, str]]:
    from pathlib import Path

    processor = Processor([step.build(SetupContext(Path(), redis=""))], Decoder([], 1 << 20))
    processed = await processor.process(batch(*entries))
    assert processed.rows is not None
    return processed.rows.records, {place: str(exc) for place, exc in processed.failures.items()}


async def test_steps_see_the_headers_of_each_record() -> None:
    entries = [[b"data", b'{"n":1}', b"topic", b"a"], [b"data", b'{"n":2}', b"topic", b"b"], [b"data", b'{"n":3}']]
    kept, failed = await through(Filter(expression="headers.get('topic') == 'a'"), *entries)
    assert (kept, failed) == ([{"n": 1}], {})
    made, failed = await through(SetFields(fields={"t": "headers.topic + str(n)"}), *entries)
    assert made == [{"n": 1, "t": "a1"}, {"n": 2, "t": "b2"}]
    assert failed == {2: "the entry has no header 'topic' (in `t: headers.topic + str(n)`)"}
    made, _ = await through(MapFields(fields={"all": "[k + v for k, v in headers.items()]"}), *entries)
    assert made == [{"all": ["topica"]}, {"all": ["topicb"]}, {"all": []}]


async def test_a_field_called_headers_is_asked_of_the_record() -> None:
    entry = [b"data", b'{"headers":{"host":"x"}}', b"host", b"y"]
    made, _ = await through(MapFields(fields={"f": "record['headers'].host", "h": "headers.host"}), entry)
    assert made == [{"f": "x", "h": "y"}]


async def test_a_header_that_is_not_text_can_be_compared() -> None:
    entry = [b"data", b"{}", b"bytes", b"\xff\xfe"]
    kept, failed = await through(Filter(expression="headers.bytes != 'x' and headers['bytes'] == headers.bytes"), entry)
    assert (kept, failed) == ([{}], {})


@pytest.mark.parametrize("text", ["n > 1", "record['headers']", "[headers for headers in a]", "'headers'", "a.headers"])
def test_expressions_that_do_not_name_headers_take_records_as_they_are(text: str) -> None:
    assert not compile_expression(text).needs_headers
    built = SetFields(fields={"x": text}).build(SetupContext.__new__(SetupContext))
    assert isinstance(built, Each)
    assert not built.needs_headers


PIPELINE = """
pipeline: p
stages:
  mark: {{from: in, process: [{{run: {module}:mark}}, {{filter: headers.lang == 'é'}}], to: marked}}
  route:
    from: marked
    match: {match}
    to:
      - {{stream: a, when: headers.topic == 'a'}}
      - {{stream: b, when: "headers.topic == 'b'"}}
      - {{stream: c, when: n > 3}}
  bare: {{from: in2, to: [{{stream: a, when: "'topic' in headers"}}, {{stream: c}}]}}
streams: {{in: {{}}, in2: {{}}}}
"""


@pytest.mark.parametrize("match", ["first", "all"])
def test_routes_and_later_steps_see_headers_that_a_step_added(folder: PipelineFolder, match: str) -> None:
    module = folder.steps(STEPS)
    folder.pipeline(PIPELINE.format(module=module, match=match))
    with drive(folder.file) as driver:
        driver.put("in", {"n": 1, "t": "a"}, {"n": 5, "t": "b"}, {"n": 6, "t": "c"})
        assert [record["n"] for record in driver.out("a")] == [1]
        assert [record["n"] for record in driver.out("b")] == [5]
        assert [record["n"] for record in driver.out("c")] == ([6] if match == "first" else [5, 6])
        driver.put("in2", {"n": 9})
        assert driver.out("c")[-1] == {"n": 9}
        assert driver.dead("route") == driver.dead("bare") == []


TABLES = """
pipeline: p
stages:
  pack: {{from: in, process: [batch, {{run: {module}:table}}], to: tables}}
  work:
    from: tables
    process: [{{filter: n > 1 and headers.topic == 'a'}}, {{set: {{t: headers.topic, m: n + 1}}}}]
    to: [{{stream: out, when: headers.topic == t}}]
streams: {{in: {{}}, tables: {{format: arrow}}, out: {{format: json}}}}
"""


def test_on_tables_the_headers_are_those_of_the_tables_entry(folder: PipelineFolder) -> None:
    folder.pipeline(TABLES.format(module=folder.steps(STEPS)))
    with drive(folder.file) as driver:
        driver.put("in", {"n": 1}, {"n": 2}, {"n": 3})
        assert driver.dead("work") == driver.dead("pack") == []
        assert driver.out("out") == [{"n": 2, "t": "a", "m": 3}, {"n": 3, "t": "a", "m": 4}]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            "a: {from: s, process: [{lookup: {jsonl: t, key: k, on: headers.k}}], write: stdout}",
            "cannot read headers",
        ),
        ("a: {read: {generate: 3, fields: {x: headers.k}}, write: stdout}", "unknown name 'headers'"),
    ],
)
def test_where_there_are_no_headers_they_cannot_be_asked_for(folder: PipelineFolder, stages: str, message: str) -> None:
    folder.pipeline(f"pipeline: p\nstages:\n  {stages}\nstreams: {{s: {{}}}}\n")
    with pytest.raises(InvalidPipelineError, match=message):
        drive(folder.file)
