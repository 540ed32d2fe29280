"""Numbers and other values from end to end: through a run, and through the verbs that put records in and show them."""

from __future__ import annotations

import json

from tests.harness.pipelines import PipelineFolder

LONG = [2**53 + 1, 2**63, 2**64, -(2**63) - 1, 12345678901234567890123, -(10**60)]

STEPS = """\
    import math
    from decimal import Decimal

    def priced(record):
        return {**record, "price": Decimal("1.19"), "bad": math.nan if record["id"] == 2**64 else 0.5}
    """


def test_integers_of_any_size_arrive_and_what_is_not_a_number_is_dead(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"id": number, "none": None} for number in LONG])
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: [s]}}
          b: {{from: s, process: [{{set: {{twice: id * 2}}}}, {{run: "{module}:priced"}}], to: t, match: all}}
          c: {{from: t, process: [batch, {{set: {{more: id + 1}}}}], to: u}}
          d: {{from: u, process: [{{filter: abs(id) > 1}}], to: v}}
          e: {{from: v, write: {{jsonl: out.jsonl}}}}
          f: {{from: t, write: {{csv: out.csv}}}}
        streams: {{u: {{format: arrow}}}}
        """
    )
    folder.cli("run", "pipeline.yml", code=3)
    fit = [number for number in LONG if number != 2**64]
    shown = (folder.path / "out.csv").read_text().splitlines()
    assert sorted(shown[1:]) == sorted(f"{number},,{2 * number},1.19,0.5" for number in fit)
    found = {record["id"]: record for record in folder.output("out.jsonl")}
    in_tables = [number for number in fit if abs(number) < 10**38]
    assert found == {
        number: {"id": number, "none": None, "twice": 2 * number, "price": 1.19, "bad": 0.5, "more": number + 1}
        for number in in_tables
    }
    letters = folder.cli("dead", "list", "pipeline.yml", "--json").json
    assert {letter["stage"]: letter["error"] for letter in letters}["b"] == (
        "the field 'bad' is nan, which is not a number that JSON has"
    )
    assert sorted(letter["stage"] for letter in letters) == ["b", "c"]
    assert str(-(10**60)) in next(letter["fields"]["data"] for letter in letters if letter["stage"] == "c")


def test_what_is_added_is_shown_with_every_digit(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{filter: "True"}], to: t}}
        streams: {s: {}, t: {format: fields}}
        """
    )
    record = {"id": 12345678901234567890123, "ids": [2**64], "x": 0.1}
    folder.cli("add", "pipeline.yml", "s", json.dumps(record))
    assert json.loads(folder.cli("tap", "pipeline.yml", "s").out)["data"] == record
    folder.cli("run", "pipeline.yml", "--drain")
    fields = json.loads(folder.cli("tap", "pipeline.yml", "t").out)["fields"]
    assert fields == {"id": "12345678901234567890123", "ids": "[18446744073709551616]", "x": "0.1"}
