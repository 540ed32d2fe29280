"""`dead list|show|replay|drop`: dead letters, of one stage or of all."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Force, Json, OptionalStage, Redis, Set, Yes
from papyra_flow.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.dead import DeadLetter
    from papyra_flow.topology.model import StageSpec

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Only this one; may be repeated.", show_default=False)]
Match = Annotated[
    str | None, typer.Option("--match", metavar="TEXT", help="Only those whose error contains this.", show_default=False)
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="At the most so many of a stage.")]
PORTION = 200


@app.command("list")
def list_(
    file: File, stage: OptionalStage = None, redis: Redis = None, set_: Set = None, json: Json = False,
    match: Match = None, count: Count = 100,
) -> None:  # fmt: skip
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
    file: File, stage: OptionalStage = None, redis: Redis = None, set_: Set = None, json: Json = False,
    id_: Id = None, match: Match = None, count: Count = 10,
) -> None:  # fmt: skip
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
    file: File, stage: OptionalStage = None, redis: Redis = None, set_: Set = None, json: Json = False,
    id_: Id = None, match: Match = None,
) -> None:  # fmt: skip
    """Put dead letters back into the stage that failed, each once; the next run tries them again."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.streams.dead import replay as put_back

    done: dict[str, int] = {}
    with session(file, redis, set_) as found:
        for spec in _stages(found, stage):
            ids = [letter.id for letter in _find(found, spec, id_, match, None)]
            if ids and not spec.inputs:
                raise UsageError(f"{spec.name!r} is only a source: its dead letters are input that is no record")
            target = found.topology.keys.stream(f"{spec.name}@replay")
            done[spec.name] = sum(
                found.ask(lambda server, part=part, spec=spec, to=target: put_back(server.wire, spec.dead_key, to, part))  # type: ignore[misc]
                for part in _portions(ids)
            )
    if json:
        print_json({"replayed": done})
    else:
        print(f"put back {sum(done.values()):,} records; `papyra-flow run` processes them")


@app.command()
def drop(
    file: File, stage: OptionalStage = None, redis: Redis = None, set_: Set = None, json: Json = False,
    id_: Id = None, match: Match = None, yes: Yes = False, force: Force = False,
) -> None:  # fmt: skip
    """Delete dead letters for good."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.streams.dead import drop_dead

    with session(file, redis, set_) as found:
        doomed = {spec.name: [x.id for x in _find(found, spec, id_, match, None)] for spec in _stages(found, stage)}
        total = sum(map(len, doomed.values()))
        if json and total and not (yes or force):
            raise RefusedError(f"{total:,} dead letters would be lost; say --yes")
        if total and not (yes or force) and not typer.confirm(f"Delete {total:,} dead letters for good?", default=False):
            raise typer.Exit(1)
        done = {
            name: sum(
                found.ask(lambda server, part=part, name=name: drop_dead(server.wire, found.stage(name).dead_key, part))  # type: ignore[misc]
                for part in _portions(ids)
            )
            for name, ids in doomed.items()
        }
    if json:
        print_json({"dropped": done})
    else:
        print(f"deleted {sum(done.values()):,} dead letters")


def _stages(found: Session, stage: str | None) -> list[StageSpec]:
    return [found.stage(stage)] if stage else list(found.topology.stages.values())


def _find(
    found: Session, spec: StageSpec, ids: list[str] | None, match: str | None, count: int | None
) -> list[DeadLetter]:
    """Dead letters of a stage that fit; all of them without a count."""
    from papyra_flow.streams.dead import list_dead

    letters: list[DeadLetter] = []
    start = "-"
    while page := found.ask(lambda server, start=start: list_dead(server.wire, spec.dead_key, start=start, count=PORTION)):  # type: ignore[misc]
        start = f"({page[-1].id}"
        letters += [
            letter for letter in page if (not ids or letter.id in ids) and (match is None or match in letter.error)
        ]
        if count is not None and len(letters) >= count:
            return letters[:count]
    return letters


def _portions(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + PORTION] for start in range(0, len(ids), PORTION)]
