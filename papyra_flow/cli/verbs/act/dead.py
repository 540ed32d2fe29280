"""`dead list|show|replay|drop`: dead letters, of one stage or of all."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.options import File, Force, Json, OptionalStage, Redis, Set, Yes
from papyra_flow.errors import UsageError
from papyra_flow.escapes import visible, visible_lines

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.dead_letters import DeadLetter
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.topology.model import StageSpec

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="Only this one; may be repeated.", show_default=False)
]
Match = Annotated[
    str | None, typer.Option("--match", metavar="TEXT", help="Only if the error contains this.", show_default=False)
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Maximum entries to show of each stage.")]
Before = Annotated[
    str | None,
    typer.Option("--before", metavar="ID", help="Only entries older than this one: the next page.", show_default=False),
]


@app.command("list")
def list_(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    match: Match = None,
    count: Count = 100,
    before: Before = None,
    by_error: Annotated[
        bool, typer.Option("--by-error", help="Group them by error, with counts and first and last occurrence.")
    ] = False,
) -> None:
    """List dead letters (the DLQ), newest first, with their error and origin."""
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.cli.session import session

    if before is not None:
        _check_id(before, "--before")
    with session(file, redis, set_) as found:
        specs = _stages(found, stage)
        if by_error:
            _list_groups(found, specs, match, json=json)
            return
        letters = [letter for spec in specs for letter in _find(found, spec, None, match, count, before)]
        total = sum(_count(found, specs))
    if json:
        print_json([asdict(letter) for letter in letters])
        return
    rows = [(x.stage, x.id, f"{x.origin} {x.origin_id}", x.deliveries, x.error) for x in letters]
    print_table(("stage", "id", "origin", "deliveries", "error"), rows)
    if letters:
        _say_how_many(letters, total, file, whole=match is None)


def _say_how_many(letters: list[DeadLetter], total: int, file: Path, *, whole: bool) -> None:
    """How many of how many were shown, and how to see the others."""
    if len(letters) == total:
        print(counted(total, "dead letter"))
        return
    print(f"{len(letters):,} of {counted(total, 'dead letter')}{'' if whole else ' match'}")
    if len({letter.stage for letter in letters}) == 1:
        print(f"older: papyra-flow dead list {file} {letters[-1].stage} --before {letters[-1].id}")
    print(f"by error: papyra-flow dead list {file} --by-error")


def _list_groups(found: Session, specs: list[StageSpec], match: str | None, *, json: bool) -> None:
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.streams.admin.dead_letters import group_dead

    groups = [
        {**asdict(group), "stage": spec.name}
        for spec in specs
        for group in found.ask(lambda server, key=spec.dead_key: group_dead(server.client, key, match=match))  # type: ignore[misc]
    ]
    if json:
        print_json(groups)
        return
    rows = [(g["stage"], g["count"], _when(str(g["first"])), _when(str(g["last"])), g["error"]) for g in groups]
    print_table(("stage", "count", "first", "last", "error"), rows)


def _when(id_: str) -> str:
    """The time in an id, which the server's clock gave it."""
    try:
        return datetime.fromtimestamp(int(id_.partition("-")[0]) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return id_


@app.command()
def show(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    id_: Id = None,
    match: Match = None,
    count: Count = 10,
    before: Before = None,
) -> None:
    """Show dead letters whole, newest first: error, traceback, origin and the record as it was."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session

    for one in (*(id_ or ()), *((before,) if before else ())):
        _check_id(one, "--id" if one != before else "--before")
    with session(file, redis, set_) as found:
        specs = _stages(found, stage)
        letters = [letter for spec in specs for letter in _find(found, spec, id_, match, count, before)]
        total = sum(_count(found, specs))
    if json:
        print_json([asdict(letter) for letter in letters])
        return
    for x in letters:
        print(visible(f"{x.stage} {x.id}, from {x.origin} {x.origin_id}, deliveries: {x.deliveries}"))
        print(f"  {visible(x.error)}")
        for name, value in x.fields.items():
            print(visible(f"  {name}: {value}"))
        print("".join(f"    {line}\n" for line in visible_lines(x.traceback).split("\n") if line))
    if letters and id_ is None:
        _say_how_many(letters, total, file, whole=match is None)


@app.command()
def replay(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    id_: Id = None,
    match: Match = None,
) -> None:
    """Put dead letters back into the stage that failed, each once; the next run tries them again."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.operate.stages import replay_dead

    for one in id_ or ():
        _check_id(one, "--id")
    done: dict[str, int] = {}
    chosen = 0
    with session(file, redis, set_) as found:
        for spec in _stages(found, stage):
            ids = _ids(found, spec, id_, match)
            if not ids:
                continue

            async def ask(server: Server, spec: StageSpec = spec, ids: list[str] = ids) -> int:
                return await replay_dead(server, found.topology, spec, ids)

            chosen += len(ids)
            done[spec.name] = found.ask(ask)
    replayed = sum(done.values())
    if json:
        print_json({"replayed": done})
    else:
        print(f"put back {counted(replayed, 'record')}" + ("; `papyra-flow run` processes them" if replayed else ""))
    if replayed < chosen:
        print(
            f"not put back: {counted(chosen - replayed, 'dead letter')}, replayed or dropped meanwhile, "
            "not written by papyra-flow, or with more fields than a commit takes",
            file=sys.stderr,
        )


@app.command()
def drop(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    id_: Id = None,
    match: Match = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Delete dead letters for good."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.streams.admin.dead_letters import drop_dead

    done: dict[str, int] = {}
    with session(file, redis, set_) as found:
        doomed = {spec.name: _ids(found, spec, id_, match) for spec in _stages(found, stage)}
        total = sum(map(len, doomed.values()))
        if total:
            consent(f"Delete {counted(total, 'dead letter')} for good", yes=yes, force=force, json=json)
        for name, ids in doomed.items():

            async def ask(server: Server, key: str = found.stage(name).dead_key, ids: list[str] = ids) -> int:
                return await drop_dead(server.client, key, ids)

            done[name] = found.ask(ask) if ids else 0
    if json:
        print_json({"dropped": done})
    else:
        print(f"deleted {counted(sum(done.values()), 'dead letter')}")


def _stages(found: Session, stage: str | None) -> list[StageSpec]:
    return [found.stage(stage)] if stage else list(found.topology.stages.values())


def _count(found: Session, specs: list[StageSpec]) -> list[int]:
    from papyra_flow.streams.admin.dead_letters import count_dead

    return found.ask(lambda server: count_dead(server.client, [spec.dead_key for spec in specs]))


def _ids(found: Session, spec: StageSpec, ids: list[str] | None, match: str | None) -> list[str]:
    from papyra_flow.streams.admin.dead_letters import dead_ids

    return found.ask(lambda server: dead_ids(server.client, spec.dead_key, ids=ids, match=match))


def _check_id(text: str, option: str) -> None:
    if not re.fullmatch(r"\d{1,20}-\d{1,20}", text, re.ASCII):
        raise UsageError(f"{option} takes an id such as 1700000000000-0, not {text!r}")


def _find(
    found: Session,
    spec: StageSpec,
    ids: list[str] | None,
    match: str | None,
    count: int,
    before: str | None,
) -> list[DeadLetter]:
    from papyra_flow.streams.admin.dead_letters import find_dead

    return found.ask(
        lambda server: find_dead(server.client, spec.dead_key, ids=ids, match=match, limit=count, before=before or "+")
    )
