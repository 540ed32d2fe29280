"""`groups`, `consumers` and `pending`: who reads what, how far, and what is pending (XINFO GROUPS, ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.members import members_of, note_missing
from papyra_flow.cli.options import AnyGroup, AnyStream, File, Json, OptionalStage, Redis, Set
from papyra_flow.cli.quantities import duration

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.repair import Membership
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.streams.groups.claims import Pending
    from papyra_flow.streams.groups.lifecycle import ConsumerInfo
    from papyra_flow.streams.groups.snapshot import StreamsSnapshot


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(groups)
    app.command()(consumers)
    app.command()(pending)


def groups(file: File, redis: Redis = None, set_: Set = None, json: Json = False, stream: AnyStream = None) -> None:
    """Show every group on the pipeline's streams, or on one stream, as XINFO GROUPS does."""
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.cli.session import session
    from papyra_flow.streams.groups.lag import counted
    from papyra_flow.streams.groups.snapshot import look

    with session(file, redis, set_) as found:
        keys = found.keys_of(stream) if stream else [spec.key for spec in found.topology.streams.values()]

        async def ask(server: Server) -> StreamsSnapshot:
            return await counted(server.client, await look(server.client, keys), once=True)

        positions = found.ask(ask, about=keys)
    rows: list[dict[str, object]] = [
        {"stream": key, "group": group.name, "consumers": group.consumers, "pending": group.pending,
         "last_delivered_id": group.last_delivered, "lag": group.lag, **({} if group.exact else {"lag_exact": False})}
        for key in keys
        for group in positions.streams[key].groups.values()
    ]  # fmt: skip
    if json:
        print_json(rows)
    else:
        shown = [{**row, "lag": f"≤ {row['lag']:,}"} if row.pop("lag_exact", True) is False else row for row in rows]
        columns = ("stream", "group", "consumers", "pending", "last delivered", "lag")
        print_table(columns, [list(row.values()) for row in shown])


def consumers(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    group: AnyGroup = None,
) -> None:
    """Show the consumers of a stage, of all stages, or of any group, as XINFO CONSUMERS does."""
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.cli.session import session
    from papyra_flow.streams.groups.lifecycle import consumers_of

    with session(file, redis, set_) as found:
        members = members_of(found, stage, stream, group)

        async def ask(server: Server) -> list[tuple[Membership, ConsumerInfo]]:
            return [(m, consumer) for m in members for consumer in await consumers_of(server.client, m.key, m.group)]

        listed = found.ask(ask, about=(m.key for m in members))
        note_missing(found, members)
    rows = [
        {"stream": m.key, "group": m.group, "consumer": c.name, "pending": c.pending, "idle_ms": int(c.idle * 1000)}
        for m, c in listed
    ]
    if json:
        print_json(rows)
    else:
        print_table(("stream", "group", "consumer", "pending", "idle ms"), [list(row.values()) for row in rows])


def pending(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    group: AnyGroup = None,
    consumer: Annotated[
        str, typer.Option("--consumer", metavar="NAME", help="Only entries of this consumer.", show_default=False)
    ] = "",
    idle: Annotated[
        str, typer.Option("--idle", metavar="DURATION", help="Only entries idle for at least this long, such as 30s.")
    ] = "0",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Maximum entries to show.")] = 100,
) -> None:
    """Show pending entries, of a stage or of all: id, consumer, idle time, deliveries, as XPENDING does."""
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.cli.session import session
    from papyra_flow.streams.admin.repair import pending_of

    least = duration(idle, "--idle")
    with session(file, redis, set_) as found:
        members = members_of(found, stage, stream, group)

        async def ask(server: Server) -> list[tuple[str, Pending]]:
            listed: list[tuple[str, Pending]] = []
            for member in members:
                entries = await pending_of(
                    server.client, member, count=count - len(listed), consumer=consumer, idle=least
                )
                listed += [(member.key, entry) for entry in entries]
            return listed

        listed = found.ask(ask, about=(m.key for m in members))
        note_missing(found, members)
        owned = _in_flight(found, stage) if stage is not None and not consumer else []
    rows = [
        {"stream": key, "id": entry.id.decode(), "consumer": entry.consumer, "idle_ms": int(entry.idle * 1000),
         "deliveries": entry.deliveries}
        for key, entry in listed
    ]  # fmt: skip
    if json:
        print_json([*rows, *owned])
        return
    if rows or not owned:
        print_table(("stream", "id", "consumer", "idle ms", "deliveries"), [list(row.values()) for row in rows])
    if owned:
        columns = ("stream", "first id", "owner", "silent ms", "tries", "partition", "committed up to", "lag")
        print_table(columns, [list(row.values()) for row in owned], title=f"{stage}: behind the owners' positions")


def _in_flight(found: Session, stage: str) -> list[dict[str, object]]:
    """What owners of a stage have not committed, with the names that pending entries have as far as they have them."""
    from papyra_flow.operate.in_flight import in_flight

    spec = found.stage(stage)
    if not spec.owned:
        return []
    return [
        {"stream": one.stream, "id": one.next, "consumer": one.owner, "idle_ms": one.silent_ms,
         "deliveries": one.tries, "partition": one.partition, "at": one.at, "lag": one.lag}
        for one in found.ask(lambda server: in_flight(server, found.topology, spec))
    ]  # fmt: skip
