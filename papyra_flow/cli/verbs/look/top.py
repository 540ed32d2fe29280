"""`top`: the pipeline as a live terminal screen."""

from __future__ import annotations

import sys

import typer

from papyra_flow.cli.options import File, Redis, Set
from papyra_flow.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(top)


def top(file: File, redis: Redis = None, set_: Set = None) -> None:
    """Watch stages, their backlogs, rates, latencies and errors; keys to tap, pause, resume, claim and replay."""
    from papyra_flow.cli.session import session
    from papyra_flow.cli.stopping import until_stopped
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.tui.screen import Top

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal; `status --watch` and `status --json` do not")
    with until_stopped(), session(file, redis, set_) as found:

        async def shown(server: Server) -> None:
            await Top(server, found.topology).run_async()

        found.ask(shown)
