"""`pipelines/flights.yml`: every branch against figures computed straight from the CSV, without papyra-flow."""

from __future__ import annotations

import csv
import gzip
import shutil
from collections import Counter
from collections.abc import Iterator
from math import acos, cos, radians, sin
from pathlib import Path
from typing import Any

import pytest

from tests.harness.pipelines import Finished, PipelineFolder

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "nycflights13"


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PipelineFolder, Finished]]:
    """The shipped pipeline after a run, in a copy, so that nothing of an earlier run is there."""
    copy = tmp_path_factory.mktemp("flights")
    for name in ("pipelines", "examples"):
        ignore = shutil.ignore_patterns("out", ".papyra-flow", "__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    folder = PipelineFolder(copy)
    yield folder, folder.cli("run", "pipelines/flights.yml", "--json")
    folder.cli("destroy", "pipelines/flights.yml", "--yes", "--force")


def table(name: str, key: str) -> dict[str, dict[str, str]]:
    with (DATA / name).open(encoding="utf-8") as file:
        return {row[key]: row for row in csv.DictReader(file)}


def flights() -> list[dict[str, str]]:
    with gzip.open(DATA / "flights-2013-01.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arrived() -> list[dict[str, str]]:
    return [row for row in flights() if row["arr_delay"] != "NA"]


def test_every_branch_has_as_many_records_as_the_csv_says(flown: tuple[PipelineFolder, Finished]) -> None:
    folder, finished = flown
    airports, rows = table("airports.csv", "faa"), arrived()
    known = [row for row in rows if row["dest"] in airports]
    late = [row for row in known if int(row["arr_delay"]) > 60]
    stages = finished.json["stages"]
    assert stages["ingest"]["emitted"] == {"raw": len(flights())} == {"raw": 27_004}
    assert (stages["clean"]["emitted"], stages["clean"]["dropped"]) == ({"clean": len(rows)}, 27_004 - len(rows))
    unknown = len(rows) - len(known)
    assert unknown > 0
    assert stages["enrich"]["emitted"] == {
        "late": len(late), "on_time": len(known) - len(late), "unknown_airport": unknown
    }  # fmt: skip
    assert {stage["dead"] for stage in stages.values()} == {0}
    assert stages["export_unknown_airport"]["written"] == unknown
    assert stages["export_late"]["written"] == len(late) == len(folder.output("pipelines/out/late.jsonl"))
    assert stages["export_on_time"]["written"] == len(known) - len(late)
    assert all(stream["backlog"] == 0 for stream in finished.json["streams"].values())


def key_of(record: dict[str, Any]) -> tuple[str, ...]:
    return (record["date"], record["flight"], record["origin"], record["dest"], str(record["arr_delay"]))


def test_every_flight_is_where_it_belongs_once(flown: tuple[PipelineFolder, Finished]) -> None:
    folder, _ = flown
    airports = table("airports.csv", "faa")
    expected: dict[str, Counter[tuple[str, ...]]] = {
        branch: Counter() for branch in ("late", "on_time", "unknown_airport")
    }
    for row in arrived():
        date = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
        branch = "unknown_airport"
        if row["dest"] in airports:
            branch = "late" if int(row["arr_delay"]) > 60 else "on_time"
        expected[branch][date, row["carrier"] + row["flight"], row["origin"], row["dest"], row["arr_delay"]] += 1
    for branch, counts in expected.items():
        assert Counter(map(key_of, folder.output(f"pipelines/out/{branch}.jsonl"))) == counts


def test_airline_airport_and_distance_are_right(flown: tuple[PipelineFolder, Finished]) -> None:
    folder, _ = flown
    airlines, airports = table("airlines.csv", "carrier"), table("airports.csv", "faa")
    for record in folder.output("pipelines/out/late.jsonl"):
        start, end = airports[record["origin"]], airports[record["dest"]]
        assert record["airline"] == airlines[record["carrier"]]["name"]
        assert record["airport"] == end["name"]
        # The spherical law of cosines: another formula than the step's.
        a, b = radians(float(start["lat"])), radians(float(end["lat"]))
        angle = acos(sin(a) * sin(b) + cos(a) * cos(b) * cos(radians(float(end["lon"]) - float(start["lon"]))))
        assert record["great_circle_km"] == pytest.approx(6371.0088 * angle, abs=0.2)


def test_flights_to_airports_that_the_table_does_not_know_are_kept_without_a_distance(
    flown: tuple[PipelineFolder, Finished],
) -> None:
    folder, _ = flown
    airports = table("airports.csv", "faa")
    kept = folder.output("pipelines/out/unknown_airport.jsonl")
    assert Counter(record["dest"] for record in kept) == Counter(
        row["dest"] for row in arrived() if row["dest"] not in airports
    )
    assert {record["dest"] for record in kept} == {"SJU", "BQN", "STT", "PSE"}
    assert {(record["airport"], record["great_circle_km"]) for record in kept} == {(None, None)}


def test_a_second_run_adds_nothing(flown: tuple[PipelineFolder, Finished]) -> None:
    folder, _ = flown
    before = (folder.path / "pipelines/out/late.jsonl").read_bytes()
    again = folder.cli("run", "pipelines/flights.yml", "--json").json
    assert again["stages"]["ingest"]["read"] == 0
    assert (folder.path / "pipelines/out/late.jsonl").read_bytes() == before
