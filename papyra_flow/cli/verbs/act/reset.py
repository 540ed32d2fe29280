"""`reset`: move a group by hand, drop a stage's state; it first says what that replays, skips and loses."""

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
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.partitions import PartitionsSnapshot
    from papyra_flow.streams.admin.repair import Membership, Move
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.topology.model import StageSpec


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(reset)


def reset(
    file: File,
    stage: OptionalStage = None,
    to: Annotated[
        str, typer.Option("--to", metavar="earliest|latest|ID|TIME", help="The new position.", show_default=False)
    ] = "",
    state: Annotated[bool, typer.Option("--state", help="Drop the stage's state and timers.")] = False,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    group: AnyGroup = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Move a group's position: replay earlier entries or skip ahead (XGROUP SETID); drop a stage's state."""
    from papyra_flow.cli.session import session
    from papyra_flow.operate import partitions
    from papyra_flow.operate.groups import move_all

    if not to and not state:
        raise UsageError("--to is missing: earliest, latest, an entry id or a time")
    target = entry_id(to, "--to") if to else ""
    with session(file, redis, set_) as found:
        replays = {spec.key for spec in found.topology.streams.values() if spec.replay}
        members = [m for m in members_of(found, stage, stream, group, needs_one=True) if m.key not in replays]
        spec = partitions.stage_with(found.topology, members[0])
        moves = _weighed(found, members, target) if to else []
        there = _kept(found, spec) if spec is not None and (spec.owned or state) else None
        if state and (spec is None or there is None or (spec.keyed_step is None and not there.entries)):
            raise UsageError(f"{stage or group!r} keeps no state")
        skipped, again = sum(one.skipped for one in moves), sum(one.again for one in moves)
        doing = (
            [f"Move {members[0].group!r} to {to}, which replays {counted(again)} and skips {skipped:,}"] if to else []
        )
        doing += [f"Drop the state of {spec.name!r}: {_amount(there)}"] if state and spec and there else []
        losing = _losing(moves, spec, there, state)
        consent("; ".join(doing), losing=losing, yes=yes, force=force, json=json)

        async def do(server: Server) -> None:
            if spec is not None and there is not None:
                keys = [one.keys for one in there.partitions]
                await partitions.reset(server, found.topology, spec, keys, moves, force=force, state=state)
            else:
                await move_all(server, found.topology, moves)

        found.ask(do, about=(m.key for m in members))
    _tell(moves, there if state else None, json=json)


def _weighed(found: Session, members: list[Membership], target: str) -> list[Move]:
    from papyra_flow.streams.admin import repair

    async def weigh(server: Server) -> list[Move]:
        return [await repair.weigh_move(server.client, member, target) for member in members]

    return found.ask(weigh, about=(m.key for m in members))


def _kept(found: Session, spec: StageSpec) -> PartitionsSnapshot:
    from papyra_flow.operate.partitions import kept_for

    return found.ask(lambda server: kept_for(server, found.topology, spec))


def _amount(there: PartitionsSnapshot) -> str:
    return f"{counted(there.entries)}, {counted(there.timers, 'timer')}"


def _losing(moves: list[Move], spec: StageSpec | None, there: PartitionsSnapshot | None, state: bool) -> str | None:
    skipped, again = sum(one.skipped for one in moves), sum(one.again for one in moves)
    losing = [f"{counted(skipped)} would be skipped and never processed"] if skipped else []
    if spec is not None and there is not None:
        if there.owned:
            owners = ", ".join(sorted({owner for owner in there.owners if owner}))
            losing.append(f"{spec.name!r} is at work ({owners}): what is in flight would be discarded and done again")
        if again and there.entries and not state:
            losing.append("what is replayed would go into its state a second time (--state drops that)")
    return "; ".join(losing) or None


def _tell(moves: list[Move], dropped: PartitionsSnapshot | None, *, json: bool) -> None:
    document: list[dict[str, object]] = [
        {"stream": one.member.key, "group": one.member.group, "from": one.at, "to": one.to, "again": one.again,
         "skipped": one.skipped, "pending": one.pending}
        for one in moves
    ]  # fmt: skip
    words = []
    if dropped is not None:
        document += [
            {"state": one.keys.state, "entries": one.entries, "timers": one.timers} for one in dropped.partitions
        ]
        words = [f"dropped: {_amount(dropped)}"]
    if moves:
        skipped, again = sum(one.skipped for one in moves), sum(one.again for one in moves)
        words.append(
            f"replayed: {counted(again)}, skipped: {skipped:,}; pending and postponed entries stay as they are"
        )
    told(document, "; ".join(words), json=json)
