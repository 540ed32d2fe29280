"""`init`: a pipeline that runs, with its step functions and its data, to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

import papyra_flow
from papyra_flow.errors import UsageError


@dataclass(frozen=True)
class Starter:
    """Files of a pipeline: each by the name that it gets, with its place in a checkout of papyra-flow."""

    name: str
    pipeline: str
    files: Mapping[str, str]
    tested: bool = False
    """Whether its file has `tests:`."""


_ORDERS = ("pipeline.yml", "steps.py", "orders.csv", "test_steps.py")
_ORDERS_PLACE = "papyra_flow/cli/templates/orders"
_FLIGHTS = ("README.md", "airlines.csv", "airports.csv", "flights-2013-01.csv.gz")
TEMPLATES = {
    template.name: template
    for template in (
        Starter("orders", "pipeline.yml", {name: f"{_ORDERS_PLACE}/{name}" for name in _ORDERS}, True),
        Starter(
            "flights",
            "flights.yml",
            {
                "flights.yml": "pipelines/flights.yml",
                **{f"flights/{name}": f"pipelines/flights/{name}" for name in ("__init__.py", "steps.py")},
                **{f"nycflights13/{name}": f"examples/nycflights13/{name}" for name in _FLIGHTS},
            },
        ),
    )
}
_ELSEWHERE = ((b"../examples/", b""), (b"run pipelines/", b"run "))
"""Paths in a pipeline of the checkout, and what they are where its files stand together."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Target folder; created if missing.")] = Path(),
    template: Annotated[str, typer.Option("--template", help=f"Which pipeline: {', '.join(TEMPLATES)}.")] = "orders",
) -> None:
    """Write a small pipeline that runs. Existing files are never overwritten."""
    if template not in TEMPLATES:
        raise UsageError(f"unknown template {template!r}; the templates are {', '.join(TEMPLATES)}")
    wanted = TEMPLATES[template]
    there = [name for name in wanted.files if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder / there[0]} already exists; choose an empty folder")
    try:
        for name, source in wanted.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_contents(wanted, name, source))
    except OSError as exc:
        raise UsageError(f"cannot write to {folder}: {exc.strerror}") from exc
    file = folder / wanted.pipeline
    print(f"wrote {', '.join(wanted.files)}\nnext: papyra-flow run {file}")
    if wanted.tested:
        print(f"      papyra-flow test {file}")


def _contents(template: Starter, name: str, source: str) -> bytes:
    """A file as it is installed, or, in a checkout, as it stands in its place there."""
    installed: Traversable = files("papyra_flow.cli.templates") / template.name / name
    if not installed.is_file():
        installed = Path(papyra_flow.__file__).parents[1] / source
    found = installed.read_bytes()
    if name == template.pipeline:
        for here, there in _ELSEWHERE:
            found = found.replace(here, there)
    return found
