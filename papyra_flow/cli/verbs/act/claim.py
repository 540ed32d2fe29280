"""`claim` and `ack`: pending entries handed over or acknowledged by hand; each says first what would be lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.console import told
from papyra_flow.cli.members import members_of
from papyra_flow.cli.options import AnyGroup, AnyStream, File, Force, Json, OptionalStage, Redis, Set, Yes
from papyra_flow.cli.quantities import duration
from papyra_flow.cli.stream_position import check_ids
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.repair import Membership
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.streams.groups.claims import Pending

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Entry ids.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (claim, ack):
        app.command()(verb)


def claim(
    file: File,
    stage: OptionalStage = None,
    ids: Ids = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    group: AnyGroup = None,
    consumer: Annotated[
        str,
        typer.Option("--consumer", metavar="NAME", help="Only entries pending for this consumer.", show_default=False),
    ] = "",
    idle: Annotated[
        str, typer.Option("--idle", metavar="DURATION", help="Only entries idle for at least this long.")
    ] = "0",
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="The consumer to hand them to.", show_default=False)
    ] = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Take pending entries from their consumers, for any other consumer or for one (XCLAIM)."""
    from papyra_flow.cli.session import session
    from papyra_flow.operate.groups import hand_over_all

    least = duration(idle, "--idle")
    stage, ids = _shifted(stage, ids, group)
    with session(file, redis, set_) as found:
        chosen = _chosen(found, members_of(found, stage, stream, group, needs_one=True), ids, consumer, least)
        total = sum(len(entries) for _, entries in chosen)
        owners = sorted({entry.consumer for _, entries in chosen for entry in entries})
        if total:
            doing = f"Take {counted(total)} from {', '.join(owners)} (work already in progress there is discarded)"
            consent(doing, yes=yes, force=force, json=json)

        given = found.ask(
            lambda server: hand_over_all(server, found.topology, chosen, to), about=(m.key for m, _ in chosen)
        )
    told({"claimed": given}, f"claimed {counted(given)}", json=json)


def ack(
    file: File,
    stage: OptionalStage = None,
    ids: Ids = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    group: AnyGroup = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Acknowledge pending entries by hand: the group will never process them (XACK)."""
    from papyra_flow.cli.session import session
    from papyra_flow.operate.groups import write_off
    from papyra_flow.streams.admin.repair import acknowledge

    stage, ids = _shifted(stage, ids, group)
    if not ids:
        raise UsageError("no entry ids given; `pending` lists them")
    with session(file, redis, set_) as found:
        chosen = _chosen(found, members_of(found, stage, stream, group, needs_one=True), ids, "", 0.0)
        total = sum(len(entries) for _, entries in chosen)
        if total:
            losing = f"{counted(total)} would be lost for {chosen[0][0].group!r}: acknowledged and never processed"
            consent(f"Acknowledge {counted(total)}", losing=losing, yes=yes, force=force, json=json)

        async def acknowledge_all(server: Server) -> int:
            acked = 0
            for m, entries in chosen:
                acknowledging = acknowledge(server.client, m, [entry.id for entry in entries])
                acked += await write_off(server, found.topology, m.key, {m.group: len(entries)}, acknowledging)
            return acked

        acked = found.ask(acknowledge_all, about=(m.key for m, _ in chosen))
    told({"acked": acked}, f"acknowledged {counted(acked)}", json=json)


def _chosen(
    found: Session, members: list[Membership], ids: list[str] | None, consumer: str, idle: float
) -> list[tuple[Membership, list[Pending]]]:
    """The pending entries that a verb is about, group by group."""
    from papyra_flow.streams.admin.repair import pending_among, pending_of

    check_ids(ids or [])

    async def choose(server: Server) -> list[tuple[Membership, list[Pending]]]:
        chosen = []
        for member in members:
            if ids:
                entries = await pending_among(server.client, member, ids)
                entries = [e for e in entries if e.idle >= idle and (not consumer or e.consumer == consumer)]
            else:
                entries = await pending_of(server.client, member, count=1_000_000, consumer=consumer, idle=idle)
            if entries:
                chosen.append((member, entries))
        return chosen

    chosen = found.ask(choose, about=(m.key for m in members))
    if ids:
        _refuse_ambiguous(found, chosen)
    return chosen


def _refuse_ambiguous(found: Session, chosen: list[tuple[Membership, list[Pending]]]) -> None:
    """Raise UsageError for an id that is pending in several streams: streams, and partitions, have ids of their own."""
    where: dict[bytes, list[str]] = {}
    for member, entries in chosen:
        for entry in entries:
            stream = found.stream(member.key)
            where.setdefault(entry.id, []).append(stream.name if stream is not None else member.key)
    for id_, names in where.items():
        if len(names) > 1:
            raise UsageError(f"{id_.decode()} is pending in {' and '.join(names)}: say which with --stream")


def _shifted(stage: str | None, ids: list[str] | None, group: str | None) -> tuple[str | None, list[str] | None]:
    """With `--group` no stage is given: what stands in its place is the first id."""
    if group is not None and stage is not None:
        return None, [stage, *(ids or [])]
    return stage, ids
