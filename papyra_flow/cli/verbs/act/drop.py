"""`drop-group` and `drop-consumer`: for good, and each says first what would be lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.members import members_of
from papyra_flow.cli.options import AnyStream, File, Force, Json, Redis, Set, StreamName, Yes

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.operate.dropping import ConsumerThere
    from papyra_flow.streams.admin.repair import Membership
    from papyra_flow.streams.connection.server import Server

AT_WORK_SECONDS = 15.0
"""A consumer that asked for something not longer ago than this is probably alive: a read blocks for less."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("drop-group")(drop_group)
    app.command("drop-consumer")(drop_consumer)


def drop_group(
    file: File,
    stream: StreamName,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.", show_default=False)],
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Remove a group from a stream, with its position and what is pending in it (XGROUP DESTROY)."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.operate import dropping
    from papyra_flow.streams.admin.repair import Membership

    with session(file, redis, set_, checked=False) as found:
        keys = found.keys_of(stream)
        what = keys[0] if len(keys) == 1 else f"the {len(keys)} partitions of {stream}"
        members = [Membership(key, group) for key in keys]
        at = found.ask(lambda server: dropping.groups_there(server.client, members), about=keys)
        pending, lag = sum(one.pending for one in at), sum(one.lag for one in at)
        losing = [f"the group {group!r} has {counted(pending)} pending"] if pending else []
        if lag:
            most = "" if all(one.exact for one in at) else "up to "
            losing.append(f"{most}{counted(lag)} of {what} not read by {group!r}")
        if stage := _stage_with(found, members[0]):
            losing.append(f"the position of the stage {stage!r}: its next run starts where `start` says")
        told = f"would be lost: {'; '.join(losing)}" if losing else None
        consent(f"Remove the group {group!r} from {what}", losing=told, yes=yes, force=force, json=json)

        async def drop(server: Server) -> bool:
            return any([await dropping.drop_group(server.client, member) for member in members])

        dropped = found.ask(drop, about=keys)
    if json:
        key = keys[0] if len(keys) == 1 else stream
        print_json({"stream": key, "group": group, "dropped": dropped, "pending": pending, "lag": lag})
    else:
        print(f"removed the group {group!r} from {what}" if dropped else "the group is already gone")


def drop_consumer(
    file: File,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="The stage whose group it is in.", show_default=False)],
    consumer: Annotated[str, typer.Argument(metavar="CONSUMER", help="The consumer's name.", show_default=False)],
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    stream: AnyStream = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="The consumer that its pending entries go to.", show_default=False),
    ] = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Remove a consumer from a stage's group; what is pending for it is handed over first (XGROUP DELCONSUMER)."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.errors import UsageError
    from papyra_flow.operate import dropping

    if to == consumer:
        raise UsageError("--to names the consumer to be removed")
    with session(file, redis, set_, checked=False) as found:
        spec, members = found.stage(stage), members_of(found, stage, stream, None)
        keys = [member.key for member in members]
        there = found.ask(lambda server: dropping.consumer_there(server.client, members, consumer), about=keys)

        async def drop(server: Server) -> int:
            after = spec.settings.claim_after
            return sum(
                [
                    await dropping.drop_consumer(server.client, one.member, consumer, to=to, claim_after=after)
                    for one in there
                ]
            )

        pending = sum(one.pending for one in there)
        doing = f"Remove the consumer {consumer!r} of {spec.group!r}, handing over {counted(pending)} pending for it"
        consent(doing, losing=_at_work(there, consumer), yes=yes, force=force, json=json)
        taken = found.ask(drop, about=keys)
    if json:
        print_json({"stage": stage, "group": spec.group, "consumer": consumer, "claimed": taken, "dropped": True})
    else:
        print(
            f"removed the consumer {consumer!r}; {counted(taken)} handed over to {to or 'the next consumer to claim'}"
        )


def _at_work(there: list[ConsumerThere], consumer: str) -> str | None:
    recent = min(one.idle for one in there)
    if recent > AT_WORK_SECONDS or not any(one.pending for one in there):
        return None
    return f"{consumer!r} asked for entries {recent:.0f} s ago: if it is still active, its work is discarded"


def _stage_with(found: Session, member: Membership) -> str | None:
    stages = found.topology.stages.values()
    keys = {name: [found.topology.streams[stream].key for stream in spec.inputs] for name, spec in
            found.topology.stages.items()}  # fmt: skip
    return next((spec.name for spec in stages if spec.group == member.group and member.key in keys[spec.name]), None)
