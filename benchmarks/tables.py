"""Three stages over tables (`format: arrow`): filter, set, filter again; rows a second, against a bare loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import redis

from benchmarks.bare import Argument, Bare
from benchmarks.pipelines import load
from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_least, median, median_ratio
from benchmarks.stages import together
from papyra_flow.records.tables import decode_table, encode_table
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_async, run_pipeline
from papyra_flow.topology.model import Topology

ROWS = 5000
SMALL = 500
STAGES = ("a", "b", "c")
TEXT = """\
pipeline: b
stages:
  a: {from: s0, process: [{filter: n % 7 != 3}], to: s1}
  b: {from: s1, process: [{set: {total: price * quantity}}], to: s2}
  c: {from: s2, process: [{filter: total > 20}], to: s3}
streams: {s0: {format: arrow}, s1: {format: arrow}, s2: {format: arrow}, s3: {format: arrow, retain: all}}
"""


def _table(start: int, rows: int) -> pa.Table:
    numbers = pa.array(range(start, start + rows), pa.int64())
    return pa.table({
        "n": numbers,
        "price": pc.add(pc.divide(pc.cast(numbers, pa.float64()), 1e6), 5.0),
        "quantity": pa.array([n % 11 for n in range(start, start + rows)], pa.int64()),
        "name": pa.array([f"customer number {n % 1000}" for n in range(start, start + rows)]),
    })  # fmt: skip


def _fill(rows: int) -> Callable[[redis.Redis, int], None]:
    def fill(client: redis.Redis, records: int) -> None:
        for start in range(0, records, rows):
            client.xadd("{b}:s0", {"data": encode_table(_table(start, min(rows, records - start)))})
        for n, group in enumerate(STAGES):
            client.xgroup_create(f"{{b}}:s{n}", group, "0", mkstream=True)

    return fill


def _expected(records: int) -> int:
    return sum(n % 7 != 3 and (n / 1e6 + 5.0) * (n % 11) > 20 for n in range(records))


def _check(path: str, expected: int) -> None:
    """Every row that has to be there is, once."""
    with redis.Redis(unix_socket_path=path) as client:
        entries: Any = client.xrange("{b}:s3")
        numbers = [n for _, fields in entries for n in decode_table((b"data", fields[b"data"]))["n"].to_pylist()]
    if len(numbers) != expected or len(set(numbers)) != expected:
        raise RuntimeError(f"{len(numbers):,} rows arrived, {len(set(numbers)):,} of them different, not {expected:,}")


# -- the floor ------------------------------------------------------------------------------------------------

Change = Callable[[pa.Table], pa.Table]


def _first(table: pa.Table) -> pa.Table:
    n = table["n"]
    rest = pc.subtract(n, pc.multiply(pc.divide(n, 7), 7))
    return table.filter(pc.not_equal(rest, 3))


def _second(table: pa.Table) -> pa.Table:
    return table.append_column("total", pc.multiply(table["price"], table["quantity"]))


def _third(table: pa.Table) -> pa.Table:
    return table.filter(pc.greater(table["total"], 20))


def _hop(path: str, number: int, entries: int, change: Change) -> None:
    bare = Bare(path)
    group, source, target = STAGES[number], f"{{b}}:s{number}", f"{{b}}:s{number + 1}"
    read: tuple[Argument, ...] = ("XREADGROUP", "GROUP", group, "c", "COUNT", 4, "BLOCK", 5000, "STREAMS", source, ">")
    head = bare.commit_head(source, target, group)
    bare.send(*read)
    found, done = bare.receive()[0][1], 0
    while done < entries:
        done += len(found)
        if done < entries:
            bare.send(*read)
        arguments: list[Argument] = [len(found)]
        for id_, fields in found:
            arguments += (id_, b"4", encode_table(change(decode_table(fields))))
        bare.send(*head, *arguments)
        following = bare.receive()[0][1] if done < entries else []
        if bare.receive()[0] != len(found):
            raise RuntimeError("the floor lost entries")
        found = following


def _floor(path: str, records: int) -> Work:
    expected, entries = _expected(records), -(-records // ROWS)

    def work() -> None:
        for number, change in enumerate((_first, _second, _third)):
            _hop(path, number, entries, change)

    return _timed(work, lambda: _check(path, expected), records)


# -- ours -----------------------------------------------------------------------------------------------------


def _drained(topology: Topology, path: str, stages: tuple[str, ...] | None = None) -> None:
    result = run_async(run_pipeline(topology, f"unix://{path}", RunOptions(drain=True, stages=stages)))
    if result.error is not None:
        raise RuntimeError(str(result.error))


def _one(path: str, records: int) -> Work:
    topology, expected = load(TEXT), _expected(records)
    return _timed(lambda: _drained(topology, path), lambda: _check(path, expected), records)


def _several(path: str, records: int) -> Work:
    topology, expected = load(TEXT), _expected(records)
    shares: list[Callable[[], None]] = [lambda s=stage: _drained(topology, path, (s,)) for stage in STAGES]  # type: ignore[misc]
    return _timed(lambda: together(shares), lambda: _check(path, expected), records)


def _timed(work: Callable[[], None], check: Callable[[], None], records: int) -> Work:
    """The work's rate, with the check behind it that is not part of it."""

    def timed() -> Figures:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        check()
        return {"rate": records / seconds}

    return timed


def report(rounds: Rounds) -> list[Line]:
    """Rates; a million rows a second is what it has to be in the better of both."""
    rates = {way: median(costs, lambda cost: cost.rate) for way, costs in rounds.items()}
    lines = [Line(f"{way}: rows/s through three stages", f"{rate:,.0f}") for way, rate in rates.items()]
    ratio = median_ratio(rounds, "papyra-flow in one process", "floor in one process", lambda cost: cost.rate)
    lines.append(Line("papyra-flow in one process, of the floor", f"{ratio:.2f}"))
    best = max(rates[way] for way in rates if way.startswith("papyra-flow"))
    lines.append(at_least("the best of both, in millions", best / 1e6, 1))
    return lines


ROW = Row(
    "three stages over tables of 5,000 rows",
    {
        "floor in one process": Way(_floor, _fill(ROWS)),
        "papyra-flow in one process": Way(_one, _fill(ROWS)),
        "papyra-flow in three": Way(_several, _fill(ROWS)),
        "papyra-flow in one process, 500 rows a table": Way(_one, _fill(SMALL), share=0.25),
    },
    2_000_000,
    report,
)
