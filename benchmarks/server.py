"""What the server sees: how long a commit holds it (SLOWLOG), and which commands a hop costs (INFO commandstats)."""

from __future__ import annotations

import statistics
from typing import Any

import redis

from benchmarks.pipelines import chain, drain, fill
from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, median


def _one(path: str, records: int) -> Work:
    topology = chain(1)

    def work() -> Figures:
        with redis.Redis(unix_socket_path=path) as server:
            server.config_set("slowlog-log-slower-than", 0)
            server.config_set("slowlog-max-len", 100_000)
            server.slowlog_reset()
            server.config_resetstat()
            drain(topology, path, records, "a")
            log: Any = server.slowlog_get(100_000)
            stats: Any = server.info("commandstats")
        took = sorted(entry["duration"] for entry in log if entry["command"].startswith(b"EVALSHA"))
        commits = [duration for duration in took if duration > 100]
        figures = {
            "median": statistics.median(commits),
            "p99": commits[int(len(commits) * 0.99)],
            "longest": max(commits),
            "over": sum(duration > 5000 for duration in commits),
            "commits": len(commits),
        }
        for name in ("xreadgroup", "evalsha", "xack", "xadd"):
            found = stats.get(f"cmdstat_{name}", {"usec": 0})
            figures[name] = found["usec"] / records
        return figures

    return work


def report(rounds: Rounds) -> list[Line]:
    """Milliseconds a commit, and microseconds a record by command."""
    costs = rounds["one hop"]

    def of(name: str) -> float:
        return median(costs, lambda cost: cost.figures[name])

    p99, over = of("p99") / 1000, of("over")
    parts = ", ".join(f"{name} {of(name):.2f}" for name in ("xreadgroup", "evalsha", "xack", "xadd"))
    told = f"median {of('median') / 1000:.2f} ms, p99 {p99:.2f} ms, longest {of('longest') / 1000:.2f} ms"
    return [
        Line(f"a commit's portion holds the server ({of('commits'):.0f} of them)", told, "p99 <= 5 ms", p99 <= 5),
        Line("portions above 5 ms (the clock also counts time given to other processes)", f"{over:.0f}"),
        Line("server's µs a record, by command (evalsha includes the last two)", parts),
    ]


ROW = Row("the server", {"one hop": Way(_one, fill)}, 100_000, report)
