"""Three stages, in one process and in three: end to end, and CPU a record and hop."""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks import bare
from benchmarks.pipelines import chain, drain, fill_three, step
from benchmarks.rig import Line, Rounds, Row, Way, Work, at_most, forked, median, median_ratio

STAGES = ("a", "b", "c")


def together(works: list[Callable[[], None]]) -> None:
    """Do each work in a process of its own, at the same time; raises RuntimeError if one of them fails."""
    statuses = [os.waitpid(child, 0)[1] for child in forked(works)]
    if any(statuses):
        raise RuntimeError("a process failed")


def _hops(path: str, records: int) -> list[Callable[[], None]]:
    return [
        lambda n=n, group=group: bare.hop(path, f"{{b}}:s{n}", f"{{b}}:s{n + 1}", group, records, step)  # type: ignore[misc]
        for n, group in enumerate(STAGES)
    ]


def _floor_one(path: str, records: int) -> Work:
    def work() -> None:
        for hop in _hops(path, records):
            hop()

    return work


def _floor_three(path: str, records: int) -> Work:
    return lambda: together(_hops(path, records))


def _one(path: str, records: int) -> Work:
    topology = chain(3)
    return lambda: drain(topology, path, records, "c")


def _three(path: str, records: int) -> Work:
    topology = chain(3)
    shares: list[Callable[[], None]] = [
        lambda stage=stage: drain(topology, path, records, stage, stages=(stage,))  # type: ignore[misc]
        for stage in STAGES
    ]
    return lambda: together(shares)


def report(rounds: Rounds) -> list[Line]:
    """Rates and costs, and the framework's own share."""
    lines = []
    for kind in ("in one process", "in three"):
        ours, floor = f"papyra-flow {kind}", f"floor {kind}"
        ratio = median_ratio(rounds, ours, floor, lambda cost: cost.rate)
        rates = [median(rounds[way], lambda cost: cost.rate) for way in (ours, floor)]
        lines.append(Line(f"{ours}, of the floor", f"{ratio:.2f} ({rates[0]:,.0f} and {rates[1]:,.0f} records/s)"))
        for way in (ours, floor):
            client, server = (median(rounds[way], of) / 3 for of in (lambda c: c.client_us, lambda c: c.server_us))
            lines.append(Line(f"{way}: CPU a record and hop, client and server", f"{client:.1f} + {server:.1f} µs"))
        own = [a.client_us / 3 - b.client_us / 3 for a, b in zip(rounds[ours], rounds[floor], strict=True)]
        lines.append(at_most(f"{ours}: client CPU above the floor's", sorted(own)[len(own) // 2], 2, " µs"))
    return lines


ROW = Row(
    "three stages",
    {
        "floor in one process": Way(_floor_one, fill_three),
        "papyra-flow in one process": Way(_one, fill_three),
        "floor in three": Way(_floor_three, fill_three),
        "papyra-flow in three": Way(_three, fill_three),
    },
    60_000,
    report,
)
