"""Steps that look at one record, driven without a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from papyra_flow.errors import ConnectorError, MissingKeyError, RecordError
from papyra_flow.spec.choice import OneOf
from papyra_flow.spec.components import STEPS, SetupContext, components
from papyra_flow.steps.base import Each
from papyra_flow.testing import drive
from tests.harness.pipelines import PipelineFolder


def built(folder: Path, raw: dict[str, Any]) -> Each:
    """A step, from what a file would say."""
    fields = dict(OneOf(STEPS).normalise(raw))  # type: ignore[call-overload]
    (name,) = [key for key in raw if key in components(STEPS)]
    step = components(STEPS)[name].model_validate(fields).build(SetupContext(folder, redis="embedded"))  # type: ignore[attr-defined]
    assert isinstance(step, Each)
    return step


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ({"map": {"b": "a + 1", "c": 2}}, {"a": 1, "x": 0}, {"b": 2, "c": 2}),
        ({"set": {"b": "a + 1"}}, {"a": 1, "x": 0}, {"a": 1, "x": 0, "b": 2}),
        ({"drop": ["a", "zzz"]}, {"a": 1, "b": 2}, {"b": 2}),
        ({"drop": "a"}, {"a": 1, "b": 2}, {"b": 2}),
        ({"rename": {"a": "z", "q": "r"}}, {"a": 1, "b": 2}, {"z": 1, "b": 2}),
        ({"rename": {"a": "b", "b": "a"}}, {"a": 1, "b": 2}, {"b": 1, "a": 2}),
    ],
)
def test_a_step_makes_of_a_record(tmp_path: Path, step: dict[str, Any], before: Any, after: Any) -> None:
    assert built(tmp_path, step).apply(before) == after


def test_filter_keeps_what_fits_as_it_is(tmp_path: Path) -> None:
    step = built(tmp_path, {"filter": "a > 1"})
    record: Any = {"a": 2}
    assert step.apply(record) is record
    assert step.unchanged
    assert step.apply({"a": 1}) is None


def test_explode_makes_a_record_of_each_item(tmp_path: Path) -> None:
    step = built(tmp_path, {"explode": {"field": "xs", "as": "x", "index": "i"}})
    made: Any = step.apply({"xs": [5, 6], "k": 1})
    assert list(made) == [{"k": 1, "x": 5, "i": 0}, {"k": 1, "x": 6, "i": 1}]
    without: list[Any] = [{"xs": []}, {"xs": None}, {}]
    for nothing in without:
        none: Any = step.apply(nothing)
        assert list(none) == []
    with pytest.raises(RecordError, match="not a list"):
        list(step.apply({"xs": "abc"}))  # type: ignore[call-overload]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text('faa,name,lat\nJFK,"Kennedy, John",40.6\nLGA,,\n')
    (tmp_path / "t.jsonl").write_text('{"faa": "JFK", "lat": 40.6}\n\n{"faa": "LGA", "lat": null}\n')
    return tmp_path


def test_lookup_adds_the_row_under_a_field_or_beside_the_others(tables: Path) -> None:
    under = built(tables, {"lookup": {"csv": "t.csv", "key": "faa", "on": "dest", "as": "airport"}})
    assert under.apply({"dest": "JFK"}) == {
        "dest": "JFK", "airport": {"faa": "JFK", "name": "Kennedy, John", "lat": "40.6"},
    }  # fmt: skip
    beside = built(
        tables,
        {"lookup": {"csv": "t.csv", "key": "faa", "on": "dest", "fields": ["lat"], "types": {"lat": "float"}}},
    )
    assert beside.apply({"dest": "JFK"}) == {"dest": "JFK", "lat": 40.6}
    assert beside.apply({"dest": "LGA"}) == {"dest": "LGA", "lat": None}
    lines = built(tables, {"lookup": {"jsonl": "t.jsonl", "key": "faa", "on": "dest.upper()"}})
    assert lines.apply({"dest": "jfk"}) == {"dest": "jfk", "faa": "JFK", "lat": 40.6}


def test_lookup_says_what_a_missing_key_means(tables: Path) -> None:
    common = {"csv": "t.csv", "key": "faa", "on": "dest", "fields": ["name"]}
    with pytest.raises(MissingKeyError, match=r"t\.csv has no row for dest = 'SJU'"):
        built(tables, {"lookup": common}).apply({"dest": "SJU"})
    assert built(tables, {"lookup": {**common, "missing": "drop"}}).apply({"dest": "SJU"}) is None
    null = built(tables, {"lookup": {**common, "missing": "null"}})
    assert null.apply({"dest": "SJU"}) == {"dest": "SJU", "name": None}
    null_as = built(tables, {"lookup": {**common, "missing": "null", "as": "airport"}})
    assert null_as.apply({"dest": "SJU"}) == {"dest": "SJU", "airport": None}


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        ({"csv": "none.csv", "on": "faa"}, r"cannot read none\.csv: No such file"),
        ({"csv": "t.csv", "on": "code"}, r"t\.csv has no column 'code'"),
        (
            {"csv": "t.csv", "on": "faa", "types": {"name": "float"}},
            r"line 2: 'Kennedy, John' in column 'name' is not a float",
        ),
        ({"jsonl": "t.csv", "on": "faa"}, r"t\.csv, line 1: the line is not JSON"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_with_its_place(tables: Path, lookup: Any, message: str) -> None:
    with pytest.raises(ConnectorError, match=message):
        built(tables, {"lookup": lookup})


@pytest.mark.parametrize(
    "lookup", [{"on": "a"}, {"csv": "a", "jsonl": "b", "on": "a"}, {"csv": "a", "on": "a + b"}, {"csv": "a"}]
)
def test_a_lookup_that_makes_no_sense_is_refused(tables: Path, lookup: Any) -> None:
    with pytest.raises(ValueError, match=r"lookup|key|Field required"):
        built(tables, {"lookup": lookup})


@pytest.mark.parametrize("step", ["{rename: {a: b}}", "batch, {rename: {a: b}}", "{rename: {a: c, b: c}}"])
def test_no_field_is_renamed_over_another_one(folder: PipelineFolder, step: str) -> None:
    folder.pipeline(f"pipeline: p\nstages: {{s: {{from: in, process: [{step}], to: out}}}}\nstreams: {{in: {{}}}}\n")
    with drive(folder.file) as driver:
        driver.put("in", {"a": 1, "b": 2})
        assert driver.out("out") == []
        (letter,) = driver.dead("s")
        assert "cannot become" in letter.error
        assert "which the record has already" in letter.error
