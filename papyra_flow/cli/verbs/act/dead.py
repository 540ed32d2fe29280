"""`dead list|show|replay|drop`: dead letters, of one stage or of all."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    from papyra_flow.operate.letters import Choice, Listing

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
    from papyra_flow.operate import letters

    with _chosen(file, redis, set_, stage, match=match, before=before) as (found, choice):
        if by_error:
            _list_groups(found, choice, json=json)
            return
        listing = found.ask(lambda server: letters.listed(server, choice, count))
    if json:
        print_json([asdict(letter) for letter in listing.letters])
        return
    rows = [(x.stage, x.id, f"{x.origin} {x.origin_id}", x.deliveries, x.error) for x in listing.letters]
    print_table(("stage", "id", "origin", "deliveries", "error"), rows)
    _say_how_many(listing, choice, file)


def _list_groups(found: Session, choice: Choice, *, json: bool) -> None:
    from papyra_flow.cli.console import print_json, print_table
    from papyra_flow.operate import letters

    by_stage = found.ask(lambda server: letters.grouped(server, choice))
    groups = [{**asdict(group), "stage": stage.name} for stage, group in by_stage]
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
    from papyra_flow.operate import letters

    with _chosen(file, redis, set_, stage, ids=id_, match=match, before=before) as (found, choice):
        listing = found.ask(lambda server: letters.listed(server, choice, count))
    if json:
        print_json([asdict(letter) for letter in listing.letters])
        return
    for x in listing.letters:
        print(visible(f"{x.stage} {x.id}, from {x.origin} {x.origin_id}, deliveries: {x.deliveries}"))
        print(f"  {visible(x.error)}")
        for name, value in x.fields.items():
            print(visible(f"  {name}: {value}"))
        print("".join(f"    {line}\n" for line in visible_lines(x.traceback).split("\n") if line))
    if id_ is None:
        _say_how_many(listing, choice, file)


def _say_how_many(listing: Listing, choice: Choice, file: Path) -> None:
    """How many of how many were shown, and how to see the others."""
    letters = listing.letters
    if not letters:
        return
    if len(letters) == listing.total:
        print(counted(listing.total, "dead letter"))
        return
    print(f"{len(letters):,} of {counted(listing.total, 'dead letter')}{'' if choice.match is None else ' match'}")
    if len({letter.stage for letter in letters}) == 1:
        print(f"older: papyra-flow dead list {file} {letters[-1].stage} --before {letters[-1].id}")
    print(f"by error: papyra-flow dead list {file} --by-error")


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
    from papyra_flow.operate import letters

    with _chosen(file, redis, set_, stage, ids=id_, match=match) as (found, choice):
        ids = found.ask(lambda server: letters.ids_of(server, choice))
        done = found.ask(lambda server: letters.put_back(server, found.topology, ids))
    chosen, replayed = sum(map(len, ids.values())), sum(done.values())
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
    from papyra_flow.cli.console import told
    from papyra_flow.operate import letters

    with _chosen(file, redis, set_, stage, ids=id_, match=match) as (found, choice):
        ids = found.ask(lambda server: letters.ids_of(server, choice))
        if total := sum(map(len, ids.values())):
            consent(f"Delete {counted(total, 'dead letter')} for good", yes=yes, force=force, json=json)
        done = found.ask(lambda server: letters.drop(server, found.topology, ids))
    told({"dropped": done}, f"deleted {counted(sum(done.values()), 'dead letter')}", json=json)


@contextmanager
def _chosen(
    file: Path,
    redis: str | None,
    set_: list[str] | None,
    stage: str | None,
    *,
    ids: list[str] | None = None,
    match: str | None = None,
    before: str | None = None,
) -> Iterator[tuple[Session, Choice]]:
    """A session with the pipeline, and the dead letters that a verb is about; raises UsageError for malformed ids."""
    from papyra_flow.cli.session import session
    from papyra_flow.operate.letters import Choice

    for one in ids or ():
        _check_id(one, "--id")
    if before is not None:
        _check_id(before, "--before")
    with session(file, redis, set_) as found:
        stages = [found.stage(stage)] if stage else list(found.topology.stages.values())
        yield found, Choice(stages, ids, match, before)


def _check_id(text: str, option: str) -> None:
    if not re.fullmatch(r"\d{1,20}-\d{1,20}", text, re.ASCII):
        raise UsageError(f"{option} takes an id such as 1700000000000-0, not {text!r}")
