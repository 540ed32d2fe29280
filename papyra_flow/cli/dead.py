"""`dead list|show|replay|drop`: dead letters, of one stage or of all."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent
from papyra_flow.cli.options import File, Force, Json, OptionalStage, Redis, Set, Yes
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.dead import DeadLetter
    from papyra_flow.streams.server import Server
    from papyra_flow.topology.model import StageSpec

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="Only this one; may be repeated.", show_default=False)
]
Match = Annotated[
    str | None, typer.Option("--match", metavar="TEXT", help="Only if the error contains this.", show_default=False)
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="At the most so many of a stage.")]


@app.command("list")
def list_(
    file: File,
    stage: OptionalStage = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    match: Match = None,
    count: Count = 100,
) -> None:
    """List dead letters with their error and origin."""
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.cli.session import session

    with session(file, redis, set_) as found:
        letters = [letter for spec in _stages(found, stage) for letter in _find(found, spec, None, match, count)]
    if json:
        print_json([asdict(letter) for letter in letters])
        return
    rows = [(x.stage, x.id, f"{x.origin} {x.origin_id}", x.deliveries, x.error) for x in letters]
    print_table(("stage", "id", "origin", "deliveries", "error"), rows)


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
) -> None:
    """Show dead letters whole: error, traceback, origin and the record as it was."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session

    with session(file, redis, set_) as found:
        letters = [letter for spec in _stages(found, stage) for letter in _find(found, spec, id_, match, count)]
    if json:
        print_json([asdict(letter) for letter in letters])
        return
    for letter in letters:
        print(f"{letter.stage} {letter.id}, from {letter.origin} {letter.origin_id}, {letter.deliveries} deliveries")
        print(f"  {letter.error}")
        for name, value in letter.fields.items():
            print(f"  {name}: {value}")
        print("".join(f"    {line}\n" for line in letter.traceback.splitlines()))


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
    from papyra_flow.streams.dead import replay as put_back

    done: dict[str, int] = {}
    with session(file, redis, set_) as found:
        for spec in _stages(found, stage):
            ids = [letter.id for letter in _find(found, spec, id_, match, None)]
            if not ids:
                continue
            if spec.replay is None:
                raise UsageError(f"{spec.name!r} is only a source: its dead letters are input that is no record")
            target = found.topology.streams[spec.replay].key

            async def ask(server: Server, dead: str = spec.dead_key, to: str = target, ids: list[str] = ids) -> int:
                return await put_back(server.wire, dead, to, ids)

            done[spec.name] = found.ask(ask)
    if json:
        print_json({"replayed": done})
    else:
        print(f"put back {sum(done.values()):,} records; `papyra-flow run` processes them")


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
    from papyra_flow.streams.dead import drop_dead

    done: dict[str, int] = {}
    with session(file, redis, set_) as found:
        doomed = {spec.name: [x.id for x in _find(found, spec, id_, match, None)] for spec in _stages(found, stage)}
        total = sum(map(len, doomed.values()))
        if total:
            consent(f"Delete {total:,} dead letters for good", yes=yes, force=force, json=json)
        for name, ids in doomed.items():

            async def ask(server: Server, key: str = found.stage(name).dead_key, ids: list[str] = ids) -> int:
                return await drop_dead(server.wire, key, ids)

            done[name] = found.ask(ask) if ids else 0
    if json:
        print_json({"dropped": done})
    else:
        print(f"deleted {sum(done.values()):,} dead letters")


def _stages(found: Session, stage: str | None) -> list[StageSpec]:
    return [found.stage(stage)] if stage else list(found.topology.stages.values())


def _find(
    found: Session, spec: StageSpec, ids: list[str] | None, match: str | None, count: int | None
) -> list[DeadLetter]:
    from papyra_flow.streams.dead import find_dead

    return found.ask(lambda server: find_dead(server.wire, spec.dead_key, ids=ids or (), match=match, limit=count))
