"""`acl`: the users that a pipeline needs on its servers, and nothing more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from papyra_flow.cli.options import File, Json, Redis, Set


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(acl)


def acl(
    file: File,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="The user's name; default: the pipeline's.", show_default=False),
    ] = None,
    operate: Annotated[
        bool, typer.Option("--operate", help="Also allow what operators need: `status`, `reset`, `destroy`.")
    ] = False,
) -> None:
    """Print the ACL user that may do what the pipeline needs, and nothing else. Needs no server."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import load
    from papyra_flow.topology.acl import users
    from papyra_flow.topology.build import assemble, build_topology

    loaded = load(file, redis, set_)
    declared = frozenset(stream.key for stream in assemble(loaded).streams.values())
    needed = users(build_topology(loaded, existing=declared, code=False), name=user, operate=operate)
    if json:
        print_json([asdict(found) for found in needed])
        return
    for found in needed:
        print(f"# on {found.server}\n{found.command}")
