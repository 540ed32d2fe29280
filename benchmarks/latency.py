"""One record at a time through three stages: from XADD to its arrival in the last stream."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

import orjson
import redis

from benchmarks.bare import Bare
from benchmarks.pipelines import chain, fill_three, step
from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_most, forked, median, median_ratio
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_async, run_pipeline

WARM_UP = 100


def bare_stage(path: str, source: str, target: str, group: str) -> None:
    """A blocking loop with the same promise: read, decode, call, encode, commit by the script."""
    reading, committing = Bare(path), Bare(path)
    head = committing.commit_head(source, target, group)
    while True:
        reply = reading.call("XREADGROUP", "GROUP", group, "c", "COUNT", 500, "BLOCK", 0, "STREAMS", source, ">")
        entries = reply[0][1]
        arguments = [a for id_, f in entries for a in (id_, b"4", orjson.dumps(step(orjson.loads(f[1]))))]
        committing.call(*head, len(entries), *arguments)


def _drive(path: str, records: int) -> Figures:
    bare, took = Bare(path), []
    newest = bare.call("XREVRANGE", "{b}:s3", "+", "-", "COUNT", 1)
    last: bytes | str = newest[0][0] if newest else "0"
    for n in range(WARM_UP + records):
        started = time.perf_counter()
        bare.call("XADD", "{b}:s0", "*", "data", orjson.dumps({"n": n, "text": "x" * 180}))
        last = bare.call("XREAD", "COUNT", 1, "BLOCK", 0, "STREAMS", "{b}:s3", last)[0][1][-1][0]
        took.append(time.perf_counter() - started)
    took = sorted(took[WARM_UP:])
    return {"p50": took[len(took) // 2] * 1e6, "p99": took[int(len(took) * 0.99)] * 1e6}


def _driven(path: str, records: int, works: Sequence[Callable[[], None]]) -> Work:
    def work() -> Figures:
        children = forked(works)
        try:
            return _drive(path, records)
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    return work


def _bare(path: str, records: int) -> Work:
    stages = [
        lambda n=n, group=group: bare_stage(path, f"{{b}}:s{n}", f"{{b}}:s{n + 1}", group)
        for n, group in enumerate("abc")
    ]
    return _driven(path, records, stages)


def _papyra_flow(processes: int) -> Callable[[str, int], Work]:
    def set_up(path: str, records: int) -> Work:
        topology = chain(3)

        def follow(stages: tuple[str, ...] | None) -> None:
            run_async(run_pipeline(topology, f"unix://{path}", RunOptions(drain=False, stages=stages)))

        shares: list[tuple[str, ...] | None] = [None] if processes == 1 else [("a",), ("b",), ("c",)]
        return _driven(path, records, [lambda share=share: follow(share) for share in shares])  # type: ignore[misc]

    return set_up


def _fill(client: redis.Redis, _: int) -> None:
    fill_three(client, 0)


def report(rounds: Rounds) -> list[Line]:
    """Percentiles, and how many times the bare ones they are."""
    lines = []
    for way in ("papyra-flow in one process", "papyra-flow in three"):
        for percentile in ("p50", "p99"):
            times = median_ratio(rounds, way, "bare in three", lambda cost, p=percentile: cost.figures[p])  # type: ignore[misc]
            ours, bare = (
                median(rounds[name], lambda cost, p=percentile: cost.figures[p])  # type: ignore[misc]
                for name in (way, "bare in three")
            )
            told = f" ({ours:.0f} and {bare:.0f} µs)"
            if way.endswith("one process"):
                lines.append(at_most(f"{way}, {percentile}, times bare", times, 2, more=told))
            else:
                lines.append(Line(f"{way}, {percentile}, times bare", f"{times:.2f}{told}"))
    return lines


ROW = Row(
    "latency",
    {
        "bare in three": Way(_bare, _fill),
        "papyra-flow in one process": Way(_papyra_flow(1), _fill),
        "papyra-flow in three": Way(_papyra_flow(3), _fill),
    },
    2000,
    report,
)
