"""`reset`: a group's position moved by hand; it first says what that replays and skips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.console import told
from papyra_flow.cli.members import members_of
from papyra_flow.cli.options import AnyGroup, AnyStream, File, Force, Json, OptionalStage, Redis, Set, Yes
from papyra_flow.cli.stream_position import entry_id
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.streams.admin.repair import Move
    from papyra_flow.streams.connection.server import Server


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(reset)


def reset(
    file: File,
    stage: OptionalStage = None,
    to: Annotated[
        str, typer.Option("--to", metavar="earliest|latest|ID|TIME", help="The new position.", show_default=False)
    ] = "",
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    group: AnyGroup = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Move a group's position: replay earlier entries or skip ahead (XGROUP SETID)."""
    from papyra_flow.cli.session import session
    from papyra_flow.operate import groups
    from papyra_flow.streams.admin import repair

    if not to:
        raise UsageError("--to is missing: earliest, latest, an entry id or a time")
    target = entry_id(to, "--to")
    with session(file, redis, set_) as found:
        replays = {spec.key for spec in found.topology.streams.values() if spec.replay}
        members = [m for m in members_of(found, stage, stream, group, needs_one=True) if m.key not in replays]

        async def weigh(server: Server) -> list[Move]:
            return [await repair.weigh_move(server.client, member, target) for member in members]

        async def move_all(server: Server) -> None:
            for one in moves:
                await groups.move(server, found.topology, one.member, repair.move(server.client, one.member, one.to))

        moves = found.ask(weigh, about=(m.key for m in members))
        skipped, again = sum(one.skipped for one in moves), sum(one.again for one in moves)
        losing = f"{counted(skipped)} would be skipped and never processed" if skipped else None
        doing = f"Move {members[0].group!r} to {to}, which replays {counted(again)} and skips {skipped:,}"
        consent(doing, losing=losing, yes=yes, force=force, json=json)
        found.ask(move_all, about=(m.key for m in members))
    document = [
        {"stream": one.member.key, "group": one.member.group, "from": one.at, "to": one.to, "again": one.again,
         "skipped": one.skipped, "pending": one.pending}
        for one in moves
    ]  # fmt: skip
    told(
        document,
        f"replayed: {counted(again)}, skipped: {skipped:,}; pending and postponed entries stay as they are",
        json=json,
    )
