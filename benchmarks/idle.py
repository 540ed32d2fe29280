"""Idle: 50 stages with nothing to do."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import redis

from benchmarks.pipelines import load
from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_most, median
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_async, run_pipeline

STAGES = 50
SETTLE_SECONDS = 3.0
SECONDS = 10.0


def _idle(path: str, _: int) -> Work:
    stages = "\n".join(f"  a{n}: {{from: s{n}, to: s{n + 1}}}" for n in range(STAGES))
    topology = load(f"pipeline: b\nstages:\n{stages}\nstreams: {{s0: {{}}}}\n")
    figures: Figures = {}

    async def main() -> None:
        running = asyncio.create_task(run_pipeline(topology, f"unix://{path}", RunOptions(drain=False)))
        await asyncio.sleep(SETTLE_SECONDS)
        used, commands = time.process_time(), _commands(path)
        await asyncio.sleep(SECONDS)
        used, commands = time.process_time() - used, _commands(path) - commands
        figures.update(
            percent=100 * used / SECONDS,
            commands=commands / SECONDS / STAGES,
            blocked=await asyncio.to_thread(_blocked, path),
        )
        os.kill(os.getpid(), 2)
        await running

    def work() -> Figures:
        run_async(main())
        return figures

    return work


def _commands(path: str) -> float:
    with redis.Redis(unix_socket_path=path) as server:
        stats: Any = server.info("stats")
    return float(stats["total_commands_processed"])


def _blocked(path: str) -> float:
    with redis.Redis(unix_socket_path=path) as server:
        clients: Any = server.info("clients")
    return float(clients["blocked_clients"])


def report(rounds: Rounds) -> list[Line]:
    """Per cent of a core, blocked reads, and commands."""
    costs = rounds["idle"]
    blocked = median(costs, lambda cost: cost.figures["blocked"])
    return [
        at_most("50 idle stages, client CPU", median(costs, lambda cost: cost.figures["percent"]), 1, " % of a core"),
        Line("blocked reads", f"{blocked:.0f} of {STAGES} consumers", f"= {STAGES}", blocked == STAGES),
        Line("commands a second and stage", f"{median(costs, lambda cost: cost.figures['commands']):.2f}"),
    ]


ROW = Row("idle", {"idle": Way(_idle)}, 1, report)
