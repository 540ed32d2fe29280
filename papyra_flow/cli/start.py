"""`init`: a small pipeline that runs, with its step function and a test, to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from papyra_flow.errors import UsageError

STARTER = ("pipeline.yml", "steps.py", "orders.csv", "test_steps.py")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to; made if it is not there.")] = Path(),
) -> None:
    """Write a small pipeline that runs. Files that are there already are never overwritten."""
    there = [name for name in STARTER if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder / there[0]} is there already; choose an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in STARTER:
            text = (files("papyra_flow.cli") / "starter" / name).read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot write to {folder}: {exc.strerror}") from exc
    file = folder / "pipeline.yml"
    print(f"wrote {', '.join(STARTER)}\nnext: papyra-flow run {file}\n      papyra-flow test {file}")
