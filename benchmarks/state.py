"""Counting by key, exactly once: against a plain hop, and against a dictionary that a crash would lose."""

from __future__ import annotations

from typing import Any

import orjson
import redis

from benchmarks.bare import Bare
from benchmarks.pipelines import PORTION, chain, load
from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_least, median, median_ratio
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_async, run_pipeline

KEYS = 10_000
IN = "{b}:s0"

COUNT = """\
pipeline: b
stages:
  a:
    from: s0
    process: [{aggregate: {by: k, window: 1h, time: t, fields: {n: count()}}}]
    to: s1
streams: {s0: {retain: all}, s1: {retain: all}}
"""
EACH = COUNT.replace("window: 1h, time: t, ", "")


def _fill(client: redis.Redis, records: int) -> None:
    """200-byte records, each of one of the keys."""
    pipe = client.pipeline(transaction=False)
    for n in range(records):
        record = {"k": f"key-{n * 7919 % KEYS}", "t": 1_700_000_000 + n // 1000, "n": n, "text": "x" * 140}
        pipe.xadd(IN, {"data": orjson.dumps(record)})
        if n % PORTION == PORTION - 1:
            pipe.execute()
    pipe.execute()
    client.xgroup_create(IN, "a", "0", mkstream=True)


def _dictionary(path: str, records: int) -> Work:
    """The same count in a dictionary: no promise at all."""

    def work() -> None:
        bare, last, seen = Bare(path), b"0", 0
        counts: dict[str, int] = {}
        while seen < records:
            entries = bare.call("XREAD", "COUNT", 500, "STREAMS", IN, last)[0][1]
            for _, fields in entries:
                key = orjson.loads(fields[1])["k"]
                counts[key] = counts.get(key, 0) + 1
            last, seen = entries[-1][0], seen + len(entries)
        if sum(counts.values()) != records:
            raise RuntimeError("the dictionary lost records")

    return work


def _hop(path: str, _: int) -> Work:
    return _run(chain(1), path, lambda _: None)


def _run(topology: Any, path: str, check: Any) -> Work:
    def work() -> Figures | None:
        result = run_async(run_pipeline(topology, f"unix://{path}", RunOptions(drain=True)))
        if result.error is not None:
            raise result.error
        check(path)
        return None

    return work


def _counted(text: str, expected: Any) -> Any:
    def set_up(path: str, records: int) -> Work:
        def check(path: str) -> None:
            with redis.Redis(unix_socket_path=path) as client:
                reply: Any = client.xrange("{b}:s1")
                found = [orjson.loads(fields[b"data"])["n"] for _, fields in reply]
            if expected(found) != records:
                raise RuntimeError(f"counted {expected(found)} of {records}")

        return _run(load(text), path, check)

    return set_up


def report(rounds: Rounds) -> list[Line]:
    """Rates, and their ratios."""
    lines = [
        Line(f"{way}: records/s; client and server CPU a record",
             f"{median(costs, lambda c: c.rate):,.0f}; {median(costs, lambda c: c.client_us):.1f} + "
             f"{median(costs, lambda c: c.server_us):.1f} µs")
        for way, costs in rounds.items()
    ]  # fmt: skip
    counted = median_ratio(rounds, "count in windows", "hop", lambda cost: cost.rate)
    each = median_ratio(rounds, "count, one result a record", "hop", lambda cost: cost.rate)
    plain = median_ratio(rounds, "count in windows", "dictionary", lambda cost: cost.rate)
    return [
        *lines,
        at_least("count in windows, of a hop", counted, 0.8),
        Line("count, one result a record, of a hop", f"{each:.2f}"),
        Line("count in windows, of a dictionary", f"{plain:.2f}"),
    ]


ROW = Row(
    f"counting by one of {KEYS:,} keys",
    {
        "dictionary": Way(_dictionary, _fill),
        "hop": Way(_hop, _fill),
        "count in windows": Way(_counted(COUNT, sum), _fill),
        "count, one result a record": Way(_counted(EACH, len), _fill),
    },
    100_000,
    report,
    {"appendonly": "no"},
)
