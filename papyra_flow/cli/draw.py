"""`graph`: the topology as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from papyra_flow.cli.options import File, Redis, Set
from papyra_flow.errors import UsageError

FORMATS = ("mermaid", "dot", "ascii", "json")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(graph)


def graph(
    file: File,
    redis: Redis = None,
    set_: Set = None,
    format_: Annotated[str, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.")] = "mermaid",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="A file instead of stdout.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Draw the topology. No server is needed."""
    import orjson

    from papyra_flow.cli.session import load
    from papyra_flow.topology.build import build_topology
    from papyra_flow.topology.render import picture, render

    chosen = "json" if json else format_
    if chosen not in FORMATS:
        raise UsageError(f"there is no format {chosen!r}; there are {', '.join(FORMATS)}")
    topology = build_topology(load(file, redis, set_))
    if chosen == "json":
        text = orjson.dumps(picture(topology).as_json(), option=orjson.OPT_INDENT_2).decode() + "\n"
    else:
        text = render(topology, chosen)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot write {output}: {exc.strerror}") from exc
