"""The rig: ways of doing the same work, run in turn against one server, each in a process of its own.

A way is set up first (imports, loading, planning) and then timed. What does not live here: what is measured, and
what it has to reach; each of the other modules holds one row of the table.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import redis

from papyra_flow.streams.embedded.server import EmbeddedServer

Figures: TypeAlias = dict[str, float]
Work: TypeAlias = Callable[[], Figures | None]


@dataclass(frozen=True)
class Way:
    """One way of doing a row's work.

    `fill` puts the input there; `set_up` is given the server's socket and the number of records, and returns what is
    timed; that may return figures of its own. `share` is the part of the records that a slow way gets.
    """

    set_up: Callable[[str, int], Work]
    fill: Callable[[redis.Redis, int], None] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Cost:
    """What a round of a way took: seconds, CPU seconds of client and server, and figures of the way's own."""

    records: int
    seconds: float
    client_cpu: float
    server_cpu: float
    figures: Figures

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.figures.get("rate", self.records / self.seconds)

    @property
    def client_us(self) -> float:
        """Microseconds of client CPU a record."""
        return self.client_cpu / self.records * 1e6

    @property
    def server_us(self) -> float:
        """Microseconds of server CPU a record."""
        return self.server_cpu / self.records * 1e6


Rounds: TypeAlias = dict[str, list[Cost]]


@dataclass(frozen=True)
class Line:
    """A line of the table: what is compared, its figures, and whether it is what it has to be (None: no bound)."""

    what: str
    figure: str
    bound: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class Row:
    """A row of issue and table: its ways, how many records, and what is made of their rounds."""

    title: str
    ways: dict[str, Way]
    records: int
    report: Callable[[Rounds], list[Line]]
    config: dict[str, str] = field(default_factory=dict)
    """CONFIG SET on the server while the row is measured."""


def median_ratio(rounds: Rounds, way: str, to: str, of: Callable[[Cost], float]) -> float:
    """The median of a figure's ratio between two ways, each time of the same round."""
    return statistics.median(of(a) / of(b) for a, b in zip(rounds[way], rounds[to], strict=True))


def median(costs: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    """The median of a figure."""
    return statistics.median(map(of, costs))


def at_least(what: str, ratio: float, bound: float, more: str = "") -> Line:
    """A ratio that has to be at least so much."""
    return Line(what, f"{ratio:.2f}{more}", f">= {bound:g}", ratio >= bound)


def at_most(what: str, value: float, bound: float, unit: str = "", more: str = "") -> Line:
    """A figure that has to be at most so much."""
    return Line(what, f"{value:.2f}{unit}{more}", f"<= {bound:g}{unit}", value <= bound)


@contextmanager
def server() -> Iterator[str]:
    """An embedded server in a folder that is gone afterwards; its socket's path."""
    with tempfile.TemporaryDirectory() as place:
        embedded = EmbeddedServer(Path(place), "benchmark")
        embedded.start()
        try:
            yield str(embedded.socket)
        finally:
            embedded.leave()


def measure(module: str, row: Row, runs: int, scale: float) -> Rounds:
    """Run a row's ways in turn, `runs` times."""
    rounds: Rounds = {name: [] for name in row.ways}
    with server() as path:
        with redis.Redis(unix_socket_path=path) as client:
            for name, value in row.config.items():
                client.config_set(name, value)
        for _ in range(runs):
            for name, way in row.ways.items():
                rounds[name].append(_round(module, row, name, path, max(1, int(row.records * way.share * scale))))
    return rounds


def _round(module: str, row: Row, name: str, path: str, records: int) -> Cost:
    with redis.Redis(unix_socket_path=path) as client:
        client.flushall()
        if fill := row.ways[name].fill:
            fill(client, records)
        before: Any = client.info("cpu")
        command = [sys.executable, "-m", "benchmarks", module, "--child", f"{row.title}/{name}", "--at", path]
        done = subprocess.run([*command, "--records", str(records)], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise RuntimeError(f"{row.title}/{name}: {done.stderr[-2000:]}")
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        after: Any = client.info("cpu")
    used = sum(after[f"used_cpu_{kind}"] - before[f"used_cpu_{kind}"] for kind in ("user", "sys"))
    return Cost(records, told["seconds"], told["client_cpu"], used, told["figures"])


def child(way: Way, path: str, records: int) -> None:
    """Run a way here, and print what it took."""
    work = way.set_up(path, records)
    before, started = _cpu(), time.perf_counter()
    figures = work()
    seconds, used = time.perf_counter() - started, _cpu() - before
    print(json.dumps({"seconds": seconds, "client_cpu": used, "figures": figures or {}}))


def forked(works: Sequence[Callable[[], None]]) -> list[int]:
    """Begin each work in a process of its own; returns their ids. One that fails ends with another status than 0."""
    children = []
    for work in works:
        if (child := os.fork()) == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    return children


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
