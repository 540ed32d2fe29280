"""`doctor`: what would go wrong, before it does."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from papyra_flow.cli.options import File, Json, Redis, Set
from papyra_flow.errors import EXIT_FAILED
from papyra_flow.escapes import visible

if TYPE_CHECKING:
    from papyra_flow.streams.admin.health import Advice

MARKS = {"ok": "ok", "info": "note", "warning": "warning", "error": "error"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(doctor)


def doctor(file: File, redis: Redis = None, set_: Set = None, json: Json = False) -> None:
    """Check for trouble before a run: server, rights, keys, groups, pending entries, files; say what to do about it."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session
    from papyra_flow.operate.doctor import examine
    from papyra_flow.runtime.process.run import run_async

    with session(file, redis, set_, checked=False) as found:
        findings = run_async(examine(found.topology, found.url))
    bad = sum(finding.bad for finding in findings)
    if json:
        print_json(
            {"pipeline": found.topology.pipeline, "healthy": not bad, "findings": [asdict(one) for one in findings]}
        )
    else:
        _print(findings, bad, str(file))
    if bad:
        raise typer.Exit(EXIT_FAILED)


def _print(findings: list[Advice], bad: int, file: str) -> None:
    for one in findings:
        print(visible(f"{MARKS[one.level]:<8} {one.check}: {one.message}"))
        if one.hint:
            print(visible(f"{'':<8}   {one.hint.replace(' FILE', f' {file}')}"))
    print(f"\n{bad} problem{'' if bad == 1 else 's'} found" if bad else "\nno problems found")
