"""`render grafana|alerts`: a dashboard and alert rules, made for one pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from papyra_flow.cli.options import File, Redis, Set

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="Write to this file instead of stdout.", show_default=False),
]


@app.command()
def grafana(file: File, redis: Redis = None, set_: Set = None, output: Output = None) -> None:
    """Print a Grafana dashboard, as JSON to import: rates, backlogs, dead letters, durations and latencies by stage."""
    import orjson

    from papyra_flow.cli.console import write_out
    from papyra_flow.cli.session import load
    from papyra_flow.observe.alerts import dashboard
    from papyra_flow.topology.build import build_topology

    made = dashboard(build_topology(load(file, redis, set_), code=False))
    write_out(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode() + "\n", output)


@app.command()
def alerts(file: File, redis: Redis = None, set_: Set = None, output: Output = None) -> None:
    """Print alert rules for Prometheus, as YAML: dead letters, pending that grows, lag, stages without consumers."""
    import yaml

    from papyra_flow.cli.console import write_out
    from papyra_flow.cli.session import load
    from papyra_flow.observe.alerts import rules
    from papyra_flow.topology.build import build_topology

    made = rules(build_topology(load(file, redis, set_), code=False))
    write_out(yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=1000), output)
