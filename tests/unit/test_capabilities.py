"""No room asks which step or connector it has before it: what it wants to know is a method of the component."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import papyra_flow
from papyra_flow.spec.components import SINKS, SOURCES, STEPS, components

PACKAGE = Path(papyra_flow.__file__).parent
CHECKS = {"isinstance", "issubclass", "type"}


def concrete() -> dict[str, Path]:
    """Every component that comes with the package, and the file that it is written in."""
    classes = {cls for group in (STEPS, SOURCES, SINKS) for cls in components(group).values()}
    return {cls.__name__: Path(inspect.getfile(cls)) for cls in classes if cls.__module__.startswith("papyra_flow.")}


def asked(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names that a module asks for with isinstance, `type(...) is` or a match, and the line of each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CHECKS:
            yield from ((node.lineno, name) for argument in node.args[1:] for name in names(argument))
        elif isinstance(node, ast.Compare):
            yield from ((node.lineno, name) for compared in node.comparators for name in names(compared))
        elif isinstance(node, ast.MatchClass):
            yield from ((node.lineno, name) for name in names(node.cls))


def names(node: ast.AST) -> set[str]:
    plain = {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}
    return plain | {found.attr for found in ast.walk(node) if isinstance(found, ast.Attribute)}


def test_no_room_asks_for_a_concrete_step_or_connector() -> None:
    known = concrete()
    assert {"Run", "Lookup", "StdoutSink", "StreamSink"} <= known.keys()
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in asked(ast.parse(path.read_text()))
        if name in known and path != known[name]
    ]
    assert found == []


def test_the_check_sees_every_way_to_ask() -> None:
    text = (
        "isinstance(a, Run)\nisinstance(a, (x.Lookup, int))\ntype(a) is Filter\nmatch a:\n    case Sql():\n        pass"
    )
    assert {name for _, name in asked(ast.parse(text))} >= {"Run", "Lookup", "Filter", "Sql"}
