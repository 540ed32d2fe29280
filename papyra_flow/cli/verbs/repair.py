"""`claim`, `ack`, `delete`, `trim` and `reset`: by hand, each says first what would be lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.members import hand_over_all, move, write_off
from papyra_flow.cli.options import AnyGroup, AnyStream, File, Force, Json, OptionalStage, Redis, Set, StreamName, Yes
from papyra_flow.cli.verbs.groups import duration, members_of
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.repair import Membership
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.streams.groups.claims import Pending

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Entry ids.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (claim, ack, delete, trim, reset):
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

    least = duration(idle, "--idle")
    stage, ids = _shifted(stage, ids, group)
    with session(file, redis, set_) as found:
        chosen = _chosen(found, members_of(found, stage, stream, group, needs_one=True), ids, consumer, least)
        total = sum(len(entries) for _, entries in chosen)
        owners = sorted({entry.consumer for _, entries in chosen for entry in entries})
        if total:
            doing = f"Take {counted(total)} from {', '.join(owners)} (work already in progress there is discarded)"
            consent(doing, yes=yes, force=force, json=json)

        given = found.ask(lambda server: hand_over_all(server, found, chosen, to), about=(m.key for m, _ in chosen))
    _say({"claimed": given}, f"claimed {counted(given)}", json=json)


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
                acked += await write_off(server, found, m.key, {m.group: len(entries)}, acknowledging)
            return acked

        acked = found.ask(acknowledge_all, about=(m.key for m, _ in chosen))
    _say({"acked": acked}, f"acknowledged {counted(acked)}", json=json)


def delete(
    file: File,
    stream: StreamName,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Entry ids.", show_default=False)],
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Delete entries of a stream (XDEL)."""
    from papyra_flow.cli.session import session
    from papyra_flow.streams.admin import repair as upkeep

    _checked(ids)
    with session(file, redis, set_) as found:
        key = found.key_of(stream)
        unacked = found.ask(lambda server: upkeep.unacked_among(server.client, key, ids), about=(key,))
        consent(f"Delete {counted(len(ids))} of {key}", losing=_losing(unacked), yes=yes, force=force, json=json)

        async def delete_them(server: Server) -> int:
            losing = await upkeep.unacked_among(server.client, key, ids)
            return await write_off(server, found, key, losing, upkeep.delete(server.client, key, ids))

        deleted = found.ask(delete_them, about=(key,))
    _say({"deleted": deleted}, f"deleted {counted(deleted)} of {key}", json=json)


def trim(
    file: File,
    stream: Annotated[
        str | None, typer.Argument(metavar="[STREAM]", help="Only this stream.", show_default=False)
    ] = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="ID|TIME", help="Trim entries older than this, acked or not.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=0, help="Trim all but the newest N, acked or not.", show_default=False),
    ] = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Trim what every group has acked; with --before or --keep, older entries, acked or not (XTRIM)."""
    from papyra_flow.cli.session import session
    from papyra_flow.streams.retention import trim_acked

    if (before is not None or keep is not None) and (stream is None or (before is not None and keep is not None)):
        raise UsageError("--before and --keep need a stream, and exclude each other")
    with session(file, redis, set_) as found:
        if stream is None:
            keys = [spec.key for spec in found.topology.streams.values() if spec.readers and not spec.external]
        else:
            keys = [found.key_of(stream)]

        async def trim_all(server: Server) -> dict[str, int]:
            return {key: await trim_acked(server.client, key, exact=True) for key in keys}

        if before is None and keep is None:
            consent(
                f"Trim what all groups of {counted(len(keys), 'stream')} have acked", yes=yes, force=force, json=json
            )
            done = found.ask(trim_all, about=keys)
        else:
            done = _trim_before(found, keys[0], _bound(found, keys[0], before, keep), yes=yes, force=force, json=json)
    _say({"trimmed": done}, f"trimmed {counted(sum(done.values()))}", json=json)


def _trim_before(found: Session, key: str, bound: str | None, *, yes: bool, force: bool, json: bool) -> dict[str, int]:
    from papyra_flow.streams.admin import repair as upkeep

    if bound is None:
        return {key: 0}
    unacked = found.ask(lambda server: upkeep.unacked_before(server.client, key, bound), about=(key,))
    consent(f"Trim {key} before {bound}", losing=_losing(unacked), yes=yes, force=force, json=json)

    async def trim_them(server: Server) -> int:
        losing = await upkeep.unacked_before(server.client, key, bound)
        return await write_off(server, found, key, losing, upkeep.trim_before(server.client, key, bound))

    return {key: found.ask(trim_them, about=(key,))}


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
    from papyra_flow.cli.stream_position import entry_id
    from papyra_flow.streams.admin import repair as upkeep

    if not to:
        raise UsageError("--to is missing: earliest, latest, an entry id or a time")
    target = entry_id(to, "--to")
    with session(file, redis, set_) as found:
        replays = {spec.key for spec in found.topology.streams.values() if spec.replay}
        members = [m for m in members_of(found, stage, stream, group, needs_one=True) if m.key not in replays]

        async def weigh(server: Server) -> list[upkeep.Move]:
            return [await upkeep.weigh_move(server.client, member, target) for member in members]

        async def move_all(server: Server) -> None:
            for one in moves:
                await move(server, found, one.member, upkeep.move(server.client, one.member, one.to))

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
    _say(
        document,
        f"replayed: {counted(again)}, skipped: {skipped:,}; what is pending or waits for another attempt stays so",
        json=json,
    )


def _chosen(
    found: Session, members: list[Membership], ids: list[str] | None, consumer: str, idle: float
) -> list[tuple[Membership, list[Pending]]]:
    """The pending entries that a verb is about, group by group."""
    from papyra_flow.streams.admin.repair import pending_among, pending_of

    _checked(ids or [])

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

    return found.ask(choose, about=(m.key for m in members))


def _shifted(stage: str | None, ids: list[str] | None, group: str | None) -> tuple[str | None, list[str] | None]:
    """With `--group` no stage is given: what stands in its place is the first id."""
    if group is not None and stage is not None:
        return None, [stage, *(ids or [])]
    return stage, ids


def _bound(found: Session, key: str, before: str | None, keep: int | None) -> str | None:
    from papyra_flow.cli.stream_position import entry_id
    from papyra_flow.streams.admin import repair as upkeep

    if before is not None:
        return entry_id(before, "--before")
    return found.ask(lambda server: upkeep.id_at_length(server.client, key, keep or 0), about=(key,))


def _losing(unacked: dict[str, int]) -> str | None:
    if not unacked:
        return None
    told = ", ".join(f"{count:,} by {group!r}" for group, count in unacked.items())
    return f"entries that are not acked yet would be lost: {told}"


def _checked(ids: list[str]) -> None:
    from papyra_flow.spec.units import is_entry_id

    for id_ in ids:
        if "-" not in id_ or not is_entry_id(id_):
            raise UsageError(f"{id_!r} is not an entry id such as 1700000000000-0")


def _say(document: object, words: str, *, json: bool) -> None:
    from papyra_flow.cli.console import print_json

    if json:
        print_json(document)
    else:
        print(words)
