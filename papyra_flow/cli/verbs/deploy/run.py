"""`run`: the main job."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Json, Redis, Set
from papyra_flow.errors import EXIT_DEAD_LETTERS, EXIT_FAILED, ServerError, UsageError

if TYPE_CHECKING:
    from papyra_flow.histograms import Histogram
    from papyra_flow.observe.counters import RunCounters
    from papyra_flow.observe.failures import Failures
    from papyra_flow.runtime.process.options import RunOptions, RunResult
    from papyra_flow.runtime.process.reload import ReloadingRun
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.topology.model import Topology


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(run)


def run(
    file: File,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stage: Annotated[
        list[str] | None,
        typer.Option("--stage", metavar="NAME", help="Only this stage; may be repeated.", show_default=False),
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Number of worker processes.")] = 1,
    drain: Annotated[
        bool, typer.Option("--drain", help="Exit once everything is drained, even if a source never ends.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Run until stopped, even if all sources end.")] = False,
    consumer_name: Annotated[
        str | None,
        typer.Option(
            "--consumer-name", metavar="NAME", help="Consumer name, instead of host and process id.", show_default=False
        ),
    ] = None,
    rewrite_aof: Annotated[
        str,
        typer.Option(
            "--rewrite-aof",
            metavar="SIZE",
            help="Rewrite a Redis server's append-only file before the first commit after its start if it uses no more "
            "memory than this; 0 for never.",
        ),
    ] = "1GiB",
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Run until stopped; restart affected stages when the file or its step functions change."
        ),
    ] = False,
) -> None:
    """Run the pipeline: create what is missing, then work until everything is drained, or until stopped."""
    import asyncio

    from papyra_flow.cli.quantities import size
    from papyra_flow.cli.session import session
    from papyra_flow.observe.failures import failures, follow_failures
    from papyra_flow.observe.progress import Progress
    from papyra_flow.runtime.process.options import RunOptions
    from papyra_flow.runtime.process.run import run_async, run_pipeline

    if drain and follow:
        raise UsageError("--drain and --follow are mutually exclusive")
    with session(file, redis, set_, code=True) as found:
        topology = found.topology
        prints_records = any(part.uses_stdout for spec in topology.stages.values() for part in spec.components)
        if json and prints_records:
            raise UsageError("--json and `write: stdout` both write to standard output: remove one")
        limit = size(rewrite_aof, "--rewrite-aof")
        ends = True if drain else False if follow else None
        options = RunOptions(tuple(stage) if stage else None, processes, ends, consumer_name, limit)
        followed = _Followed(found.spec.file or file, (file, redis, set_), options, topology) if watch else None
        now = followed.topology if followed is not None else lambda: topology
        progress = Progress(now, sys.stderr)

        async def shown(counters: RunCounters, server: Server) -> None:
            shows = [progress.watch(counters, server)] if progress.wanted else []
            if watch:
                shows.append(follow_failures(now, counters, server))
            await asyncio.gather(*shows)

        watching = shown if progress.wanted or watch else None
        result = run_async(run_pipeline(topology, found.url, options, watching, followed.make if followed else None))
        failed: list[Failures] = []
        if result.counters.dead and not json:
            dead = {name: one.dead for name, one in result.counters.stages.items()}
            with suppress(ServerError):
                failed = found.ask(lambda server: failures(server, now(), dead))
    if json:
        from papyra_flow.cli.console import print_json

        print_json(as_json(topology, result))
    else:
        _print_summary(result, to_stderr=prints_records)
        _print_failures(failed, file)
    if result.error is not None:
        raise result.error
    if result.counters.lost:
        raise typer.Exit(EXIT_FAILED)
    if result.counters.dead:
        raise typer.Exit(EXIT_DEAD_LETTERS)


class _Followed:
    """What `--watch` makes instead of a worker; `topology` returns what it is running."""

    def __init__(
        self, file: Path, given: tuple[Path, str | None, list[str] | None], options: RunOptions, first: Topology
    ) -> None:
        if options.processes > 1 or options.stages:
            raise UsageError("--watch runs all stages in one process: remove --processes and --stage")
        if options.drain:
            raise UsageError("--watch runs until stopped: remove --drain")
        self._file, self._given = file, given
        # A stage that has drained would miss what comes later: replayed dead letters, another pipeline's records.
        self._options = replace(options, drain=False)
        self._first = first
        self._run: ReloadingRun | None = None

    def make(self, topology: Topology, server: Server, counters: RunCounters) -> ReloadingRun:
        from papyra_flow.cli.console import print_error
        from papyra_flow.cli.session import load
        from papyra_flow.runtime.process.reload import ReloadingRun

        self._run = ReloadingRun(
            lambda: load(*self._given, again=True), topology, server, self._options, counters, print_error, self._file
        )
        return self._run

    def topology(self) -> Topology:
        return self._run.topology if self._run is not None else self._first


def _print_failures(failed: list[Failures], file: Path) -> None:
    """What failed, how often, and what to do next, on stderr: the summary alone is the run's output."""
    from papyra_flow.escapes import visible
    from papyra_flow.observe.failures import told

    for one in failed:
        print("\n".join(map(visible, told(one))), file=sys.stderr)
    if failed:
        print(f"next: papyra-flow dead show {file} {failed[0].stage}", file=sys.stderr)
    if again := [one.stage for one in failed if one.replayable]:
        print(f"      papyra-flow dead replay {file} {again[0]}, once it can succeed", file=sys.stderr)


def as_json(topology: Topology, result: RunResult) -> dict[str, object]:
    """A run's end under the names of the command line's contract."""
    document: dict[str, object] = {
        "pipeline": topology.pipeline,
        "outcome": result.outcome,
        "seconds": round(result.seconds, 3),
        "stages": {name: counters.as_json() for name, counters in result.counters.stages.items()},
        "streams": result.streams,
    }
    if result.error is not None:
        document["error"] = str(result.error)
    return document


def _print_summary(result: RunResult, *, to_stderr: bool) -> None:
    from papyra_flow.cli.console import print_table
    from papyra_flow.escapes import visible

    optional = [
        name for name in ("late", "claimed", "lost") if any(getattr(c, name) for c in result.counters.stages.values())
    ]
    rows = [
        (
            name,
            counters.read,
            ", ".join(f"{stream} {number:,}" for stream, number in counters.as_json()["emitted"].items()) or "-",  # type: ignore[attr-defined]
            counters.written or None,
            counters.dropped or None,
            counters.retried or None,
            counters.dead or None,
            *(getattr(counters, column) or None for column in optional),
        )
        for name, counters in result.counters.stages.items()
    ]
    title = f"{result.outcome} after {result.seconds:.1f} s"
    columns = ("stage", "read", "emitted", "written", "dropped", "retried", "dead", *optional)
    file = sys.stderr if to_stderr else sys.stdout
    print_table(columns, rows, title=title, file=file)
    for name, counters in result.counters.stages.items():
        if counters.own:
            counts = ", ".join(f"{what} {number:,}" for what, number in sorted(counters.own.items()))
            print(visible(f"{name} counted: {counts}"), file=file)
        for what, histogram in sorted(counters.own_durations.items()):
            print(visible(f"{name} timed: {what} {_in_short(histogram, ' s')}"), file=file)
        for what, histogram in sorted(counters.own_values.items()):
            print(visible(f"{name} measured: {what} {_in_short(histogram)}"), file=file)


def _in_short(histogram: Histogram, unit: str = "") -> str:
    """A distribution on one line."""
    mean, p99 = histogram.sum / max(1, histogram.count), histogram.quantile(0.99) or 0.0
    return f"{histogram.count:,} times, mean {mean:.3g}{unit}, p99 {p99:.3g}{unit}"
