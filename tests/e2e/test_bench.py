"""`papyra-flow bench`: figures of a pipeline's own steps, and nothing outside is touched."""

from __future__ import annotations

from tests.harness.pipelines import PipelineFolder


def test_it_says_what_a_record_costs_and_writes_nothing(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(10)])
    folder.pipeline(
        """\
        pipeline: p
        redis: redis://127.0.0.1:1
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{set: {m: 10 // n}}], to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        """
    )
    told = folder.cli("bench", "pipeline.yml", "--records", "2000", "--json").json
    assert told["records"] == 2000
    assert told["records_per_second"] > 0
    assert told["client_cpu_us"] > 0
    assert told["stages"]["b"]["read"] == 2000
    assert told["stages"]["b"]["dead"] == 200, "every tenth record of the sample divides by zero"
    assert told["stages"]["c"]["read"] == 1800
    assert sorted(path.name for path in folder.path.iterdir()) == ["in.jsonl", "pipeline.yml"]
    assert "2,000 records in" in folder.cli("bench", "pipeline.yml", "--records", "2000", "--processes", "2").out


def test_streams_that_others_fill_are_filled_from_a_sample(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, to: t}, b: {from: u, to: v}}
        streams: {s: {}, u: {format: arrow}}
        """
    )
    assert "pass example records with --sample" in folder.cli("bench", "pipeline.yml", code=2).err
    folder.records("sample.jsonl", [{"n": 1}])
    told = folder.cli("bench", "pipeline.yml", "--sample", "sample.jsonl", "--records", "1500", "--json").json
    assert {name: stage["read"] for name, stage in told["stages"].items()} == {"a": 1500, "b": 1500}
    folder.write("bad.jsonl", '{"n": 1}\nnot JSON\n')
    assert "bad.jsonl:2: not JSON" in folder.cli("bench", "pipeline.yml", "--sample", "bad.jsonl", code=2).err
