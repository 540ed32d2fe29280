"""Scaling out: workers on a step that sleeps, and on one that computes, timed by the ids of what they forwarded."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Any

import redis

from benchmarks.pipelines import drain, fill, load
from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_least, median, median_ratio
from benchmarks.stages import together

SLEEP_SECONDS = 0.002
WORK = b"x" * 1_000_000
PIPELINE = """\
pipeline: b
defaults: {{batch: {{size: 50}}}}
stages: {{a: {{from: s0, process: [{{run: "benchmarks.scaling:{step}"}}], consumers: {workers}, to: s1}}}}
streams: {{s0: {{retain: all}}, s1: {{retain: all}}}}
"""


def sleeps(record: dict[str, Any]) -> dict[str, Any]:
    """A step that waits for something else, and holds up its worker meanwhile."""
    time.sleep(SLEEP_SECONDS)
    return record


def computes(record: dict[str, Any]) -> dict[str, Any]:
    """A step that keeps a core busy for a millisecond or two, which is most of what the record costs."""
    hashlib.blake2b(WORK).digest()
    return record


def _rate(path: str) -> Figures:
    """Records a second by the middle 80 % of the ids in the target, which leaves starting and ending out."""
    with redis.Redis(unix_socket_path=path) as server:
        entries: Any = server.xrange("{b}:s1")
        times = sorted(int(id_.split(b"-")[0]) for id_, _ in entries)
    first, last = int(len(times) * 0.1), int(len(times) * 0.9)
    return {"rate": (last - first) / ((times[last] - times[first]) / 1000)}


def _workers(step: str, workers: int) -> Callable[[str, int], Work]:
    def set_up(path: str, records: int) -> Work:
        topology = load(PIPELINE.format(step=step, workers=workers))

        def work() -> Figures:
            drain(topology, path, records, "a", processes=workers)
            return _rate(path)

        return work

    return set_up


def _cores(processes: int) -> Callable[[str, int], Work]:
    """What the machine gives to plain processes that compute."""

    def set_up(_: str, records: int) -> Work:
        def loop() -> None:
            for _ in range(records // processes):
                computes({})

        return lambda: together([loop] * processes)

    return set_up


def report(rounds: Rounds) -> list[Line]:
    """How many times one worker, a worker; and against the cores."""
    lines = []
    for workers in (2, 4):
        times = median_ratio(rounds, f"sleeps, {workers}", "sleeps, 1", lambda cost: cost.rate) / workers
        rate = median(rounds[f"sleeps, {workers}"], lambda cost: cost.rate)
        lines.append(at_least(f"a step that sleeps, {workers} workers, a worker", times, 0.9, f" ({rate:,.0f}/s)"))
    times = median_ratio(rounds, "computes, 2", "computes, 1", lambda cost: cost.rate)
    cores = median_ratio(rounds, "cores, 2", "cores, 1", lambda cost: cost.rate)
    told = f"{times:.2f} times one; plain processes {cores:.2f} times, on {os.cpu_count()} cores"
    return [*lines, Line("a step that computes, 2 processes", told, ">= 0.9 of it", times >= 0.9 * cores)]


ROW = Row(
    "scaling out",
    {
        **{f"sleeps, {n}": Way(_workers("sleeps", n), fill, share=n) for n in (1, 2, 4)},
        **{f"computes, {n}": Way(_workers("computes", n), fill, share=n) for n in (1, 2)},
        **{f"cores, {n}": Way(_cores(n), share=n) for n in (1, 2)},
    },
    2000,
    report,
)
