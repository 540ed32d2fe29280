"""Ingest and drain: flights through `pipelines/flights.yml`, against a script that does the same without Redis.

`FLIGHTS` names another file than the month that is in the repository, such as the whole year (336,776 flights).
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, median, median_ratio
from papyra_flow.config.load import load_pipeline
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_async, run_pipeline
from papyra_flow.topology.build import build_topology

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "nycflights13"
FLIGHTS = Path(os.environ.get("FLIGHTS", EXAMPLES / "flights-2013-01.csv.gz")).resolve()
BRANCHES = ("late", "on_time", "unknown_airport")
INTEGERS = ("dep_delay", "arr_delay", "distance")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def _papyra_flow(processes: int) -> Callable[[str, int], Work]:
    def set_up(path: str, _: int) -> Work:
        os.environ["FLIGHTS"] = str(FLIGHTS)
        place = tempfile.TemporaryDirectory()
        out = [f"stages.export_{name}.write.jsonl={place.name}/{name}.jsonl" for name in BRANCHES]
        topology = build_topology(load_pipeline(ROOT / "pipelines" / "flights.yml", overrides=out))

        def work() -> Figures:
            with redis.Redis(unix_socket_path=path) as server:
                server.config_resetstat()
                result = run_async(run_pipeline(topology, f"unix://{path}", RunOptions(processes=processes)))
                memory: Any = server.info("memory")
            read, seconds = result.counters.stages["ingest"].read, result.seconds
            place.cleanup()
            return {
                "rate": read / seconds,
                "read": read,
                "mb": _peak_mb(),
                "server mb": memory["used_memory_peak"] / 1e6,
            }

        return work

    return set_up


def _table(name: str, key: str, columns: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    with (EXAMPLES / name).open(encoding="utf-8", newline="") as file:
        return {row[key]: {column: row[column] for column in columns} for row in csv.DictReader(file)}


def _plain(_: str, __: int) -> Work:
    """The same work as it is written without a framework: one loop, in memory, and no promise."""
    sys.path.insert(0, str(ROOT / "pipelines"))
    from flights.steps import great_circle

    def work() -> Figures:
        airlines = _table("airlines.csv", "carrier", ("name",))
        airports = _table("airports.csv", "faa", ("name", "lat", "lon"))
        for airport in airports.values():
            airport["lat"], airport["lon"] = float(airport["lat"]), float(airport["lon"])
        read = 0
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            out = {branch: stack.enter_context((place / branch).open("w")) for branch in BRANCHES}
            file = stack.enter_context(gzip.open(FLIGHTS, "rt", encoding="utf-8", newline=""))
            for row in csv.DictReader(file):
                read += 1
                flight: dict[str, Any] = {
                    name: None if value == "NA" else int(value) if name in INTEGERS else value
                    for name, value in row.items()
                }
                if flight["arr_delay"] is None:
                    continue
                record = great_circle(
                    {
                        "flight": flight["carrier"] + flight["flight"],
                        "date": f"{flight['year']}-{flight['month']:0>2}-{flight['day']:0>2}",
                        **{name: flight[name] for name in ("carrier", "origin", "dest", "dep_delay", "arr_delay")},
                        "miles": flight["distance"],
                        "airline": airlines[flight["carrier"]]["name"],
                        "from_airport": airports[flight["origin"]],
                        "airport": airports.get(flight["dest"]),
                    }
                )
                branch = "late" if record["arr_delay"] > 60 else "on_time"
                if record["airport"] is None:
                    branch = "unknown_airport"
                else:
                    record["airport"] = record["airport"]["name"]
                del record["from_airport"]
                print(json.dumps(record), file=out[branch])
        return {"read": read, "mb": _peak_mb()}

    return work


def report(rounds: Rounds) -> list[Line]:
    """Records a second, and peak memory."""
    lines = []
    for way, costs in rounds.items():
        rate = median(costs, lambda cost: cost.figures.get("rate", cost.figures["read"] / cost.seconds))
        told = f"{rate:,.0f} records/s, {median(costs, lambda cost: cost.figures['mb']):.0f} MB"
        if "server mb" in costs[0].figures:
            told += f", server {median(costs, lambda cost: cost.figures['server mb']):.0f} MB"
        lines.append(Line(f"{way} ({costs[0].figures['read']:,.0f} flights)", told))
    slower = median_ratio(rounds, "papyra-flow", "a plain script", lambda cost: cost.seconds)
    return [*lines, Line("papyra-flow's time, times the plain script's", f"{slower:.2f}")]


ROW = Row(
    "ingest and drain",
    {
        "a plain script": Way(_plain),
        "papyra-flow": Way(_papyra_flow(1)),
        "papyra-flow, 2 processes": Way(_papyra_flow(2)),
    },
    1,
    report,
)
