"""Values on their way through a pipeline of records: kept exactly, or failed; never changed, and never decided on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from papyra_flow.testing import Driver, drive
from tests.harness.pipelines import PipelineFolder

STEPS = """\
    import datetime, decimal, math
    from dataclasses import dataclass

    @dataclass
    class Point:
        x: float

    def same(record):
        return dict(record)

    def with_nan(record):
        return {**record, "x": math.nan} if record["id"] == 2 else {**record, "x": 1.0}

    def with_nested_nan(record):
        return {**record, "p": {"q": [Point(math.inf if record["id"] == 2 else 1.0)]}, "none": None}

    def batch(records):
        return [with_nan(record) for record in records]

    async def many(record):
        yield with_nan(record)

    def typed(record):
        return {
            "id": 2**80, "price": decimal.Decimal("1.19"), "day": datetime.date(2024, 2, 29),
            "at": datetime.datetime(2024, 2, 29, 12), "for": datetime.timedelta(minutes=90), "raw": b"\\x00",
            "tags": {"b", "a"}, "none": None, "text": "a", "ok": True, "n": 1.5,
        }
    """
FORMS: dict[str, Any] = {
    "id": 2**80, "price": 1.19, "day": "2024-02-29", "at": "2024-02-29T12:00:00+00:00", "for": "PT1H30M", "raw": "AA==",
    "tags": ["a", "b"], "none": None, "text": "a", "ok": True, "n": 1.5,
}  # fmt: skip


def driven(folder: PipelineFolder, process: str, to: str = "to: out", streams: str = "") -> Driver:
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          work: {{from: in, process: [{process.replace("MODULE", module)}], {to}}}
        streams: {{in: {{}}, {streams}}}
        """
    )
    return drive(folder.file)


@pytest.mark.parametrize(
    "process",
    [
        "{filter: id > 0}",
        "{set: {more: 1}}",
        "{map: {id: id}}",
        "{set: {id: id + 1}}, {set: {id: id - 1}}",
        "{set: {ids: '[id]'}}, {explode: ids, as: id}, {drop: ids}",
        "{rename: {id: ident}}, {rename: {ident: id}}",
        "{run: 'MODULE:same'}",
        "{lookup: {jsonl: table.jsonl, key: id, on: id}}",
    ],
)
@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, -(2**63) - 1, 12345678901234567890123, 10**300])
def test_an_integer_of_any_size_goes_through_every_step(folder: PipelineFolder, process: str, number: int) -> None:
    (folder.path / "table.jsonl").write_text(f'{{"id": {abs(number)}, "found": {number}}}\n')
    with driven(folder, process) as driver:
        driver.put("in", {"id": abs(number), "other": [number]})
        assert [record["id"] for record in driver.out("out")] == [abs(number)]
        assert all(record.get("other", [number]) == [number] for record in driver.out("out"))
        assert all(record.get("found", number) == number for record in driver.out("out"))


@pytest.mark.parametrize(
    "to",
    [
        "to: out",
        "to: [{stream: out, when: x > 0}]",
        "to: [{stream: out, when: x != x or x > 0}]",
        "match: all, to: [{stream: out, when: x > 0}, {stream: other, when: not x > 0}]",
        "to: fields",
        "write: {jsonl: out.jsonl}",
        "write: {csv: out.csv}",
        "write: stdout",
    ],
)
@pytest.mark.parametrize(
    "process",
    [
        "{run: 'MODULE:with_nan'}",
        "{run: 'MODULE:with_nan'}, {filter: x > 0}",
        "{run: {function: 'MODULE:batch', batch: true}}, {filter: x > 0}",
        "{run: 'MODULE:many'}, {filter: x > 0}",
        "{run: 'MODULE:with_nan'}, {set: {x: 'x if x > 0 else 7'}}",
        "{set: {x: '1e308 * 10 ** id if id == 2 else 1'}}",
        "{run: 'MODULE:with_nested_nan'}, {set: {x: 1}}",
    ],
)
def test_what_is_not_a_number_fails_before_anything_is_decided_on_it(
    folder: PipelineFolder, process: str, to: str
) -> None:
    with driven(folder, process, to, "fields: {format: fields}" if "fields" in to else "") as driver:
        driver.put("in", {"id": 1}, {"id": 2}, {"id": 3})
        assert [record["id"] for record in driver.dead_records("work")] == [2]
        assert "which is not a number that JSON has" in driver.dead("work")[0].error
        assert "the field '" in driver.dead("work")[0].error
        for stream in driver.topology.streams:
            assert all(str(record["id"]) != "2" for record in driver.out(stream) if stream != "in")


@pytest.mark.parametrize("to", ["to: out", "to: [{stream: out, when: n > 1}]", "write: {jsonl: out.jsonl}"])
def test_each_type_that_a_step_returns_has_its_form(folder: PipelineFolder, to: str) -> None:
    with driven(folder, "{run: 'MODULE:typed'}", to) as driver:
        driver.put("in", {}, {})
        found = driver.written("work") if "write" in to else driver.out("out")
        assert found == [FORMS, FORMS]


def test_fields_hold_the_same_forms_as_text(folder: PipelineFolder) -> None:
    with driven(folder, "{run: 'MODULE:typed'}", streams="out: {format: fields}") as driver:
        driver.put("in", {})
        assert driver.out("out") == [
            {
                "id": str(2**80), "price": "1.19", "day": "2024-02-29", "at": "2024-02-29T12:00:00+00:00",
                "for": "PT1H30M", "raw": "AA==", "tags": '["a","b"]', "none": "", "text": "a", "ok": "true", "n": "1.5",
            }
        ]  # fmt: skip


def test_a_csv_has_the_same_forms_in_its_cells(folder: PipelineFolder) -> None:
    from papyra_flow.connectors.base import ConnectorContext
    from papyra_flow.connectors.csv.sink import CsvSink

    sink = CsvSink(path="out.csv").open(ConnectorContext(folder.path, "p", "work", ""))
    line = sink.encode({**FORMS, "id": 2**80, "at": "x"}, None)
    assert line == f'{2**80},1.19,2024-02-29,x,PT1H30M,AA==,"[""a"",""b""]",,a,true,1.5\n'.encode()


def test_an_expected_record_may_be_written_with_yamls_own_types(folder: PipelineFolder) -> None:
    with driven(folder, "{run: 'MODULE:same'}") as driver:
        driver.put("in", {"x": 10**30})
        assert driver.out("out") == [{"x": 10**30}]
    with driven(folder, "{run: 'MODULE:same'}") as driver, pytest.raises(Exception, match="the field 'x' is nan"):
        driver.put("in", {"x": math.nan})
