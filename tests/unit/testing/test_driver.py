"""Driving a pipeline without a server: what a run would do to each record, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from papyra_flow import Pipeline
from papyra_flow.errors import PipelineFailedError, UsageError
from papyra_flow.testing import Driver, drive
from tests.harness.pipelines import PipelineFolder

STEPS = """\
    from papyra_flow import Dead, Emit
    tries = []

    def work(record):
        if record["n"] == 3:
            raise Dead("three")
        if record["n"] == 4:
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("not yet")
        if record["n"] == 5:
            raise ValueError("never")
        return Emit(record, to="b", headers={"h": "x"}) if record["n"] == 6 else record

    async def both(record):
        yield record
        yield {**record, "copy": True}
    """


def pipeline(folder: PipelineFolder, more: str = "") -> Path:
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          ingest: {{read: {{jsonl: nowhere.jsonl}}, to: raw}}
          work:
            from: raw
            process: [{{filter: n < 10}}, {{run: "{module}:work"}}]
            to: [{{stream: a, when: n % 2 == 0}}, b]
            retry: {{attempts: 3, backoff: 1h..1h}}
            {more}
          copy: {{from: a, process: [{{run: "{module}:both"}}], to: c}}
          out: {{from: c, write: {{jsonl: out.jsonl}}}}
        """
    )
    return folder.file


def test_records_go_all_the_way_at_once(folder: PipelineFolder) -> None:
    with drive(pipeline(folder)) as driver:
        driver.put("ingest", *({"n": n} for n in range(12)))
        assert [record["n"] for record in driver.out("raw")] == list(range(12))
        assert [record["n"] for record in driver.out("a")] == [0, 2, 8, 4]  # 4 was tried again, which comes later
        assert [record["n"] for record in driver.out("b")] == [1, 6, 7, 9]
        assert driver.headers("b")[1] == {"h": "x"}
        assert driver.written("out")[:2] == [{"n": 0}, {"n": 0, "copy": True}]
        letters = driver.dead("work")
        assert [(letter.error, letter.deliveries) for letter in letters] == [("three", 1), ("ValueError: never", 3)]
        assert driver.dead_records("work") == [{"n": 3}, {"n": 5}]
        driver.put("a", {"n": 100})
        assert driver.written("out")[-1] == {"n": 100, "copy": True}
    assert not (folder.path / "out.jsonl").exists()


async def test_it_works_where_an_event_loop_runs(folder: PipelineFolder) -> None:
    with drive(pipeline(folder)) as driver:
        assert len(driver.put("raw", {"n": 2}).written("out")) == 2


def test_halting_is_an_error(folder: PipelineFolder) -> None:
    with drive(pipeline(folder, "on_error: halt")) as driver, pytest.raises(PipelineFailedError, match="halts: never"):
        driver.put("raw", {"n": 5})


def test_tables_and_fields_are_driven_as_records(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {from: s, process: [batch, {set: {m: n * 2}}], to: t}
          b: {from: t, process: [{filter: 6 / n > 1}], to: u}
          c: {from: u, to: v}
        streams: {s: {}, t: {format: arrow}, u: {format: arrow}, v: {format: fields}}
        """
    )
    with Driver(folder.topology()) as driver:
        driver.put("s", *({"n": n} for n in range(8)))
        assert driver.out("u") == [{"n": n, "m": 2 * n} for n in range(1, 6)]
        assert driver.out("v")[0] == {"n": "1", "m": "2"}
        assert driver.dead_records("b") == [{"n": 0, "m": 0}]


def test_names_that_are_not_there_and_what_needs_a_server_are_refused(folder: PipelineFolder) -> None:
    with drive(pipeline(folder)) as driver:
        for call in (lambda: driver.put("x", {}), lambda: driver.out("x"), lambda: driver.dead("x")):
            with pytest.raises(UsageError, match=r"unknown (stream|stage)"):
                call()
    folder.pipeline(
        "pipeline: p\nstages: {a: {from: s, process: [{lookup: {hash: h, on: k, as: v}}], to: t}}\nstreams: {s: {}}\n"
    )
    with pytest.raises(UsageError, match="uses the key 'h': that needs a server"):
        drive(folder.file)


def test_what_the_sink_refuses_is_a_dead_letter_as_in_a_run(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, write: {csv: {path: out.csv, columns: [n]}}}}
        streams: {s: {}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("s", {"n": 1}, {"n": 2, "extra": 1}, {"n": 3})
        assert driver.written("a") == [{"n": 1}, {"n": 3}]
        assert [letter.error for letter in driver.dead("a")] == ["the file out.csv has no column 'extra'"]
    assert not (folder.path / "out.csv").exists()


def test_a_sink_is_asked_how_it_writes_without_its_file_being_touched(folder: PipelineFolder) -> None:
    """What stands in the file is the business of a run: a test must not depend on it."""
    folder.pipeline("pipeline: p\nstages: {a: {from: s, write: {csv: out.csv}}}\nstreams: {s: {}}\n")
    (folder.path / "out.csv").write_text("other\n1\n")
    with drive(folder.file) as driver:
        driver.put("s", {"n": 1}, {"m": 1})
        assert driver.written("a") == [{"n": 1}]
        assert [letter.error for letter in driver.dead("a")] == ["the file out.csv has no column 'm'"]
    assert (folder.path / "out.csv").read_text() == "other\n1\n"


@pytest.mark.parametrize("given", [3, None, b"p.yml", object(), Pipeline])
def test_what_is_no_pipeline_is_said_in_one_sentence(given: Any) -> None:
    for use in (drive, Pipeline.from_yaml):
        with pytest.raises(UsageError, match=r"is no pipeline: give a file's path, or a Pipeline$"):
            use(given)
