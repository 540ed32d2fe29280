"""`validate` and `schema`: what can be said of a file without a server."""

from __future__ import annotations

import typer

from papyra_flow.cli.consent import counted
from papyra_flow.cli.options import File, Json, Redis, Set
from papyra_flow.errors import InvalidPipelineError


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(validate)
    app.command()(schema)


def validate(file: File, redis: Redis = None, set_: Set = None, json: Json = False) -> None:
    """Check the file: all errors at once, each with its place. Needs no server."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import load
    from papyra_flow.topology.build import build_topology

    try:
        topology = build_topology(load(file, redis, set_))
    except InvalidPipelineError as exc:
        if not json:
            raise
        shown = ("file", "line", "column", "code", "message", "hint")
        print_json([{name: getattr(problem, name) for name in shown} for problem in exc.problems])
        raise typer.Exit(exc.exit_code) from exc
    if json:
        print_json([])
    else:
        streams = sum(not stream.spec.internal for stream in topology.named.values())
        print(f"{file}: valid, {counted(len(topology.stages), 'stage')} and {counted(streams, 'stream')}")


def schema() -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.config.schema import pipeline_schema

    print_json(pipeline_schema())
