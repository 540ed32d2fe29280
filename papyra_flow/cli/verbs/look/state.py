"""`state`: what a stage with owners keeps, and who keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Json, Redis, Set
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.operate.state import StatePage
    from papyra_flow.streams.admin.partitions import PartitionsSnapshot
    from papyra_flow.streams.connection.server import Server


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(state)


def state(
    file: File,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="A stage with owners.", show_default=False)],
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY]", help="Only this key: text, JSON, or an array of its parts.", show_default=False
        ),
    ] = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="About how many entries to show.")] = 100,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="PLACE", help="Go on where a page ended, as it said.", show_default=False),
    ] = None,
) -> None:
    """Show a stage's partitions, their owners and watermarks, and the state that it keeps by key."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.operate.partitions import look_at_stage
    from papyra_flow.operate.state import StatePage, read_state

    with session(file, redis, set_) as found:
        spec, topology = found.stage(stage), found.topology
        if not spec.owned:
            raise UsageError(f"{stage!r} keeps no state: it has no owners")
        if key is not None and spec.keyed_step is None:
            raise UsageError(f"{stage!r} keeps no state by key: it only keeps the order")

        async def ask(server: Server) -> tuple[PartitionsSnapshot, StatePage]:
            there = await look_at_stage(server, topology, spec)
            if spec.keyed_step is None:
                return there, StatePage()
            return there, await read_state(server, topology, spec, key=key, count=count, start=start)

        there, page = found.ask(ask)
    if json:
        entries = [one.as_json() for one in page.entries]
        print_json({"stage": stage, **described(there), "entries": entries, "next": page.next})
    else:
        _print(stage, there, page)


def described(there: PartitionsSnapshot) -> dict[str, object]:
    """A stage's partitions under the names of `state --json`."""
    from papyra_flow.observe.partitions import partition_document

    return {"partitions": [partition_document(one, there.now) for one in there.partitions]}


def _print(stage: str, there: PartitionsSnapshot, page: StatePage) -> None:
    from papyra_flow.cli.console import print_table
    from papyra_flow.observe.partitions import partition_document
    from papyra_flow.operate.state import words

    names = ("partition", "owner", "silent_ms", "watermark", "watermark_delay_ms", "entries", "bytes", "timers")
    rows = [[partition_document(one, there.now)[name] for name in names] for one in there.partitions]
    print_table([name.replace("_", " ") for name in names], rows, title=stage)
    if page.entries:
        columns = ("partition", "key", "window start", "value")
        shown = [(one, words(one)) for one in page.entries]
        print_table(columns, [(one.partition, key, one.window_start, value) for one, (key, value) in shown])
    if page.next is not None:
        print(f"there is more: --from {page.next}")
