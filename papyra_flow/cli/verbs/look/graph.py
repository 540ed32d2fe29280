"""`graph`: the topology as a picture."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Redis, Set
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.drawing.picture import Picture

FORMATS = ("mermaid", "dot", "svg", "html", "ascii", "json")
SECONDS = 1.0
"""Between the two looks at a server that rates are made of."""


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
        typer.Option("--output", "-o", metavar="OUT", help="Write to this file instead of stdout.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Add lag, pending, rates and dead letters, from the server.")
    ] = False,
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="Draw with this jinja2 template.", show_default=False),
    ] = None,
) -> None:
    """Draw the topology. Needs no server, except with --live."""
    from papyra_flow.cli.console import write_out
    from papyra_flow.drawing.render import WIDTH, render

    chosen = "json" if json else format_
    if chosen not in FORMATS:
        raise UsageError(f"unknown format {chosen!r}; the formats are {', '.join(FORMATS)}")
    drawn = _live(file, redis, set_) if live else _still(file, redis, set_)
    fits = output is None and sys.stdout.isatty()
    width = min(100, max(40, shutil.get_terminal_size().columns - 1)) if fits else WIDTH
    text = render(drawn, chosen, template=template, width=width)
    write_out(text, output)


def _still(file: Path, redis: str | None, overrides: list[str] | None) -> Picture:
    from papyra_flow.cli.session import load
    from papyra_flow.drawing.picture import picture
    from papyra_flow.topology.build import build_topology

    loaded = load(file, redis, overrides)
    return picture(build_topology(loaded, code=False), loaded.positions)


def _live(file: Path, redis: str | None, overrides: list[str] | None) -> Picture:
    import asyncio

    from papyra_flow.cli.session import session
    from papyra_flow.drawing.picture import picture
    from papyra_flow.observe.figures import Figures, Snapshot, put_on
    from papyra_flow.streams.connection.server import Server

    with session(file, redis, overrides) as found:

        async def look_twice(server: Server) -> Snapshot:
            figures = Figures(server, found.topology)
            await figures.look()
            await asyncio.sleep(SECONDS)
            return await figures.look()

        drawn = picture(found.topology, found.spec.positions)
        put_on(drawn, found.ask(look_twice), found.topology)
    return drawn
