"""Planning: 1,000 stages validated, planned and created; and how long `--help` takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_most, median, median_ratio

STAGES = 1000
HELP = [sys.executable, "-c", "import sys; sys.argv[1:] = ['--help']; from papyra_flow.cli.main import main; main()"]
EMPTY = [
    sys.executable,
    "-c",
    "import sys, typer\napp = typer.Typer(add_completion=False)\n@app.command()\ndef main() -> None: pass\n"
    "sys.argv[1:] = ['--help']\napp()",
]


def _thousand(path: str, _: int) -> Work:
    place = tempfile.TemporaryDirectory()
    file = Path(place.name) / "thousand.yml"
    steps = "process: [{filter: n > 0}, {set: {n: n + 1}}]"
    stages = [f"  stage_{n}: {{from: s{n}, {steps}, to: s{n + 1}}}" for n in range(STAGES)]
    file.write_text("pipeline: b\nstages:\n" + "\n".join(stages) + "\nstreams: {s0: {}}\n")

    def work() -> Figures:
        from papyra_flow.config.load import load_pipeline
        from papyra_flow.runtime.process.run import apply_topology, run_async
        from papyra_flow.streams.connection.server import Server
        from papyra_flow.streams.groups.snapshot import look
        from papyra_flow.topology.build import build_topology
        from papyra_flow.topology.plan import make_plan

        async def create() -> None:
            server = Server(f"unix://{path}")
            positions = await look(server.client, [stream.key for stream in topology.streams.values()])
            make_plan(topology, positions, server=server.shown)
            moments.append(time.perf_counter())
            await apply_topology(server, topology)
            await server.close()

        moments = [time.perf_counter()]
        loaded = load_pipeline(file)
        moments.append(time.perf_counter())
        topology = build_topology(loaded)
        moments.append(time.perf_counter())
        run_async(create())
        moments.append(time.perf_counter())
        place.cleanup()
        names = ("validate", "build", "plan", "create")
        return {name: end - start for name, start, end in zip(names, moments, moments[1:], strict=False)}

    return work


def _command(command: Sequence[str]) -> Callable[[str, int], Work]:
    def set_up(_: str, times: int) -> Work:
        def work() -> Figures:
            took = []
            for _ in range(times):
                started = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)  # noqa: S603
                took.append(time.perf_counter() - started)
            return {"best": min(took)}

        return work

    return set_up


def _imports() -> list[str]:
    """The heavy packages that `--help` imports."""
    code = "import sys\ntry:\n    from papyra_flow.cli.main import main; main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True, text=True)  # noqa: S603
    return [name for name in ("jinja2", "networkx", "rich", "redis", "pydantic") if name in done.stdout.split()]


def report(rounds: Rounds) -> list[Line]:
    """Seconds, times an empty app, and what is imported."""
    costs = rounds["1,000 stages"]
    parts = {name: median(costs, lambda cost, n=name: cost.figures[n]) for name in costs[0].figures}  # type: ignore[misc]
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
    times = median_ratio(rounds, "--help", "an empty app", lambda cost: cost.figures["best"])
    imported = _imports()
    return [
        at_most("1,000 stages", sum(parts.values()), 2, " s", more=f" ({told})"),
        at_most("--help, times an empty typer app", times, 2),
        Line("heavy packages that --help imports", ", ".join(imported) or "none", "none", not imported),
    ]


ROW = Row(
    "planning",
    {
        "1,000 stages": Way(_thousand),
        "--help": Way(_command(HELP), share=5),
        "an empty app": Way(_command(EMPTY), share=5),
    },
    1,
    report,
)
