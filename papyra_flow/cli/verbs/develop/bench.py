"""`bench`: a pipeline on generated load: its rate, its latencies, and what a record costs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Json, Set
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.runtime.bench import Bench


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(bench)


def bench(
    file: File,
    set_: Set = None,
    json: Json = False,
    records: Annotated[int, typer.Option("--records", "-n", min=1, help="Records to read from each source.")] = 100_000,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Number of worker processes.")] = 1,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="FILE",
            help="JSON lines to repeat, instead of what the sources read.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure a pipeline on repeated records, on an embedded server of its own; sinks write nothing."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import load
    from papyra_flow.runtime.bench import measure
    from papyra_flow.streams.embedded.server import EmbeddedServer
    from papyra_flow.topology.build import build_topology

    topology = build_topology(load(file, None, set_))
    given = _read(sample) if sample is not None else None
    with tempfile.TemporaryDirectory() as place:
        embedded = EmbeddedServer(Path(place), "bench")
        embedded.start()
        try:
            found = measure(topology, embedded.url, count=records, processes=processes, sample=given)
        finally:
            embedded.leave()
    if json:
        print_json(_document(found))
    else:
        _print(found)
    if found.result.error is not None:
        raise found.result.error


def _read(sample: Path) -> list[bytes]:
    import orjson

    try:
        lines = [line for line in sample.read_bytes().splitlines() if line.strip()]
    except OSError as exc:
        raise UsageError(f"cannot read {sample}: {exc.strerror}") from exc
    for number, line in enumerate(lines, start=1):
        try:
            if type(orjson.loads(line)) is not dict:
                raise UsageError(f"{sample}:{number}: not a JSON object")
        except orjson.JSONDecodeError as exc:
            raise UsageError(f"{sample}:{number}: not JSON: {exc}") from exc
    if not lines:
        raise UsageError(f"{sample} has no records")
    return lines


def _document(found: Bench) -> dict[str, object]:
    stages = {}
    for name, counters in found.result.counters.stages.items():
        timings = counters.timings
        stages[name] = {
            "read": counters.read,
            "dead": counters.dead,
            "batch": round(timings.batch.sum / timings.batch.count, 1) if timings.batch.count else None,
            "latency_p50_ms": _ms(timings.latency.quantile(0.5)),
            "latency_p99_ms": _ms(timings.latency.quantile(0.99)),
        }
    return {
        "records": found.records,
        "seconds": round(found.result.seconds, 3),
        "records_per_second": round(found.rate),
        "client_cpu_us": round(found.client_us, 2),
        "server_cpu_us": round(found.server_us, 2),
        "stages": stages,
    }


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value * 1000, 1)


def _print(found: Bench) -> None:
    from papyra_flow.cli.console import print_table

    print(
        f"{found.records:,} records in {found.result.seconds:.1f} s: {found.rate:,.0f} records/s, "
        f"{found.client_us:.1f} µs of client CPU and {found.server_us:.1f} µs of server CPU a record"
    )
    stages = _document(found)["stages"]
    if isinstance(stages, dict):
        columns = ("read", "dead", "batch", "latency_p50_ms", "latency_p99_ms")
        titles = ("stage", "read", "dead", "batch", "latency p50 ms", "latency p99 ms")
        print_table(titles, [(name, *(facts[column] for column in columns)) for name, facts in stages.items()])
