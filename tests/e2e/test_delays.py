"""`pipelines/delays.yml`: every hour of every airport against figures computed straight from the CSV by DuckDB."""

from __future__ import annotations

import csv
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from tests.harness.pipelines import PipelineFolder

duckdb = pytest.importorskip("duckdb")

ROOT = Path(__file__).parents[2]
HOURS = """
    select origin, epoch(time_hour), count(*), count(*) - count(dep_delay), avg(arr_delay), max(arr_delay)
    from read_csv(?, nullstr = 'NA') group by origin, time_hour
"""


@pytest.fixture
def copied(tmp_path: Path) -> PipelineFolder:
    """The shipped pipeline in a copy, so that nothing of an earlier run is there."""
    for name in ("pipelines", "examples"):
        ignore = shutil.ignore_patterns("out", ".papyra-flow", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    return PipelineFolder(tmp_path)


def number(text: str) -> float | None:
    return float(text) if text else None


@pytest.mark.parametrize("arguments", [(), ("--processes", "2"), ("--set", "streams.flights.partitions=1")])
def test_each_hour_is_written_once_with_the_figures_of_the_csv(
    copied: PipelineFolder, arguments: tuple[str, ...]
) -> None:
    data = ROOT / "examples" / "nycflights13" / "flights-2013-01.csv.gz"
    expected = {
        (origin, int(hour)): (flights, cancelled, mean, worst)
        for origin, hour, flights, cancelled, mean, worst in duckdb.execute(HOURS, [str(data)]).fetchall()
    }
    try:
        finished = copied.cli("run", "pipelines/delays.yml", "--json", *arguments)
        with (copied.path / "pipelines/out/delays_by_hour.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    finally:
        copied.cli("destroy", "pipelines/delays.yml", "--yes", "--force")
    found = {
        (row["origin"], int(datetime.fromisoformat(row["window_start"]).timestamp())): (
            int(row["flights"]), int(row["cancelled"]), number(row["mean_delay"]), number(row["worst_delay"])
        )
        for row in rows
    }  # fmt: skip
    assert len(found) == len(rows) == len(expected) == 1_642, "each hour once"
    assert finished.json["stages"]["by_hour"]["dead"] == 0
    for hour, (flights, cancelled, mean, worst) in expected.items():
        assert found[hour] == (flights, cancelled, mean if mean is None else pytest.approx(mean), worst)
