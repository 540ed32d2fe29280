"""`plan`, `apply` and `destroy`: what a pipeline has on a server, and what it is to have."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.options import File, Force, Json, Redis, Set, Yes
from papyra_flow.escapes import visible

if TYPE_CHECKING:
    from papyra_flow.topology.destroy import There
    from papyra_flow.topology.plan import Plan, PlannedGroup, PlannedStage, PlannedStream


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(plan)
    app.command()(apply)
    app.command()(destroy)


def plan(file: File, redis: Redis = None, set_: Set = None, json: Json = False) -> None:
    """Show what `run` would create, what exists that the file does not mention, and what each link promises."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.operate.planning import plan_on

    with session(file, redis, set_) as found:
        made = found.ask(lambda server: plan_on(server, found.topology))
    if json:
        print_json({**asdict(made), "changes": made.changes})
    else:
        _print(made)


def apply(file: File, redis: Redis = None, set_: Set = None, json: Json = False) -> None:
    """Create missing streams and groups without running; safe to repeat."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.runtime.process.run import apply_topology

    with session(file, redis, set_) as found:
        created = found.ask(lambda server: apply_topology(server, found.topology))
        hidden = {stream.key for stream in found.topology.streams.values() if stream.hidden}
        created = [spec for spec in created if spec.key not in hidden]
    if json:
        print_json({"created": [asdict(spec) for spec in created]})
    elif created:
        for spec in created:
            print(f"created group {spec.group} on {spec.key}, starting at {spec.start}")
    else:
        print("nothing to create: everything exists")


def destroy(
    file: File,
    redis: Redis = None,
    set_: Set = None,
    yes: Yes = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Remove the pipeline's streams, groups and bookkeeping from the server; files stay."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.observe.reports import read_reports
    from papyra_flow.topology.destroy import carry_out, what_is_there

    with session(file, redis, set_) as found:
        keys = found.topology.keys
        there = found.ask(lambda server: what_is_there(server, found.topology))
        workers = found.ask(lambda server: read_reports(server.client, keys.workers))
        if there.keys or there.groups:
            losing = _losing(there)
            what = counted(len(there.keys), "key")
            if there.groups:
                what += f", and {counted(len(there.groups), 'group')} on streams of others"
            doing = f"Remove {what}"
            if workers:
                doing += f" ({counted(len(workers), 'running worker')} will end with an error)"
            consent(doing, losing=losing, yes=yes, force=force, json=json)
        found.ask(lambda server: carry_out(server, there, tell=keys.destroyed if workers else ""))
    if json:
        print_json({"keys": there.keys, "groups": [asdict(spec) for spec in there.groups]})
    elif there.keys or there.groups:
        print(f"removed {what}; files stay")
    else:
        print("nothing to remove: the server has nothing of this pipeline")


def _losing(there: There) -> str | None:
    told = [f"{there.backlog:,} records are not processed yet and would be lost"] if there.backlog else []
    told += [f"{count:,} records would be lost to the group {group}" for group, count in there.others.items() if count]
    return "; ".join(told) or None


def _print(made: Plan) -> None:
    from papyra_flow.cli.console import print_table

    print(f"{made.pipeline} on {made.server}: {made.changes} to create\n")
    streams = [(s.state, _named(s), s.key, s.length, s.retain, s.max_backlog, s.records) for s in made.streams]
    print_table(("", "stream", "key", "length", "retention", "max backlog", "records"), streams)
    print_table(("", "group", "stream", "at", "pending", "lag"), _groups(made))
    if made.stages:
        names = ("stage", "state", "partitions", "owned", "entries", "bytes", "watermark")
        print_table(names, [_stage(stage) for stage in made.stages])
    links = [(f"{link.source} -> {link.target}", link.promise, link.because) for link in made.links]
    print_table(("link", "promise", "because"), links)
    lines = [f"! {orphan}; {orphan.hint}" for orphan in made.orphans]
    lines += [f"! {former}" for former in made.former_groups]
    lines += [f"! {sentence}" for sentence in made.repartitioned + made.reshaped]
    lines += [f"? {key}: not in the file" for key in made.unknown_keys]
    lines += [f"! {sentence}" for sentence in made.warnings]
    for line in lines:
        print(visible(line))


def _stage(stage: PlannedStage) -> tuple[object, ...]:
    owned = sum(owner is not None for owner in stage.owners)
    return (
        stage.name, stage.keeps, stage.partitions, owned, stage.state_entries, stage.state_bytes, stage.watermark
    )  # fmt: skip


def _named(stream: PlannedStream) -> str:
    from papyra_flow.topology.descriptions import partition_words

    words = partition_words(stream.partitions, stream.by)
    return f"{stream.name} ({words})" if words else stream.name


def _groups(made: Plan) -> list[tuple[object, ...]]:
    """The rows of groups; one for all partitions of a stream."""
    partitioned = {stream.name for stream in made.streams if stream.partitions}
    rows: dict[tuple[str, str, str], list[PlannedGroup]] = {}
    for group in made.groups:
        name = group.stream.rpartition("/")[0]
        of = name if name in partitioned else group.stream
        rows.setdefault((group.state, group.group, of), []).append(group)
    return [
        (*row, found[0].at if len({one.at for one in found}) == 1 else "", sum(one.pending for one in found),
         sum(one.lag for one in found))
        for row, found in rows.items()
    ]  # fmt: skip
