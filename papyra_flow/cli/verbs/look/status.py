"""`status`: one look at groups, lag, pending, consumers and dead letters."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Json, Redis, Set

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session

WATCH_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(status)


def status(
    file: File,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second, until interrupted.")] = False,
) -> None:
    """Show each stage's group, backlog and dead letters, and each stream's size."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.cli.stopping import until_stopped
    from papyra_flow.observe.status import status as look_at

    with until_stopped() if watch else nullcontext(), session(file, redis, set_) as found:
        while True:
            document = found.ask(lambda server: look_at(server, found.topology))
            if json:
                print_json(document)
            else:
                if watch:
                    print("\033[2J\033[H", end="")  # clear the screen, as `watch` does
                _print(found, document)
            if not watch:
                return
            time.sleep(WATCH_SECONDS)


def _print(found: Session, document: dict[str, object]) -> None:
    from papyra_flow.cli.console import print_table
    from papyra_flow.escapes import visible

    stages = document["stages"]
    streams = document["streams"]
    if not isinstance(stages, dict) or not isinstance(streams, dict):
        return
    names = ("stream", "consumers", "pending", "lag", "oldest_pending_ms", "waiting", "dead")
    shown = {
        name: {**facts, "lag": facts["lag"] if facts.get("lag_exact", True) else f"≤ {facts['lag']:,}"}
        for name, facts in stages.items()
    }
    rows = [(stage.name, *(shown[stage.name][name] for name in names)) for stage in found.topology.in_order()]
    columns = ("stage", "reads", "consumers", "pending", "lag", "oldest pending ms", "waiting", "dead")
    print_table(columns, rows, title=found.topology.pipeline)
    if owned := [(name, facts) for name, facts in stages.items() if "partitions" in facts]:
        _print_owned(owned)
    for name, facts in stages.items():
        if "away" in facts:
            print(visible(f"{name} waits for another system: {facts['away']}"))
    fields = ("key", "length", "first_id", "last_id", "bytes")
    print_table(("stream", *fields), [(name, *(facts[field] for field in fields)) for name, facts in streams.items()])


def _print_owned(owned: list[tuple[str, dict[str, object]]]) -> None:
    from papyra_flow.cli.console import print_table

    names = ("state_entries", "state_bytes", "watermark", "watermark_delay_ms", "late")
    rows = [
        (name, facts["partitions"], facts["consumers"], *(facts.get(field) for field in names)) for name, facts in owned
    ]
    print_table(("stage", "partitions", "owned", *(name.replace("_", " ") for name in names)), rows)
