"""Whether the files that a pipeline writes are written by one stage each, and read by none of it.

Files are compared as the system finds them: through links, `..` and globs, and in folders that do not tell upper from
lower case.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from papyra_flow.connectors.files.lock import is_same_file, unfit
from papyra_flow.spec.positions import Path as Place
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import Topology


def file_findings(topology: Topology) -> Iterator[Finding]:
    """What is wrong with the files of sinks."""
    written: list[tuple[str, Path]] = []
    for stage in topology.stages.values():
        place: Place = ("stages", stage.name, "write")
        for name in stage.sink.files() if stage.sink is not None else ():
            path = topology.folder / name
            if (reason := unfit(path)) is not None:
                yield place, "sink-file", reason, "`write: stdout` prints records"
            for other, file in written:
                if _is_one_file(file, path):
                    message = f"the stages {other!r} and {stage.name!r} write the same file"
                    yield place, "shared-file", message, None
                    break
            written.append((stage.name, path))
            yield from _read(topology, place, name)


def _read(topology: Topology, place: Place, name: str) -> Iterator[Finding]:
    """Findings on a sink's file that the same pipeline reads."""
    path = topology.folder / name
    for stage in topology.stages.values():
        for pattern in stage.source.files() if stage.source is not None else ():
            if _matches(topology.folder / pattern, path):
                message = f"this writes {name}, which the stage {stage.name!r} reads as {pattern}"
                yield place, "own-source", message, "it would grow while it is read: write another file"
        for step in stage.steps:
            for table in step.files():
                if _is_one_file(topology.folder / table, path):
                    message = f"this writes {name}, which the step {step.name!r} of {stage.name!r} reads as its table"
                    yield place, "own-source", message, "write another file"


def _is_one_file(one: Path, other: Path) -> bool:
    if is_same_file(one, other):
        return True
    first, second = os.path.realpath(one), os.path.realpath(other)
    if first == second:
        return True
    return first.casefold() == second.casefold() and _folds_case(Path(first).parent)


def _folds_case(folder: Path) -> bool:
    """Whether a folder's file system takes upper and lower case for the same."""
    return folder.name.swapcase() != folder.name and is_same_file(folder, folder.with_name(folder.name.swapcase()))


def _matches(pattern: Path, path: Path) -> bool:
    """Whether a glob finds a file, now or once it is there."""
    if _is_one_file(pattern, path):
        return True
    if not glob.has_magic(str(pattern)):
        return False
    found = glob.glob(str(pattern), recursive=True) if path.exists() else []  # noqa: PTH207 - absolute patterns too
    if any(is_same_file(Path(name), path) for name in found):
        return True
    parts = pattern.parts
    literal = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    start = Path(os.path.realpath(Path(*parts[:literal])))
    return _fits((*start.parts, *parts[literal:]), Path(os.path.realpath(path)).parts)


def _fits(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether a file's path has the form of a glob, part by part; `**` stands for any number of folders.

    At the end it stands for what is in them, too, but not for nothing: what is before it has to be a folder then.
    """
    if not pattern or not parts:
        return not parts and not pattern
    if all(part == "**" for part in pattern):
        return not any(part.startswith(".") for part in parts)
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return _fits(rest, parts) or (not parts[0].startswith(".") and _fits(pattern, parts[1:]))
    if not glob.has_magic(first):
        return first == parts[0] and _fits(rest, parts[1:])
    hidden = parts[0].startswith(".") and not first.startswith(".")
    return not hidden and fnmatch.fnmatchcase(parts[0], first) and _fits(rest, parts[1:])
