"""Where the parts of a pipeline are written: in a file, at a line and column, or in Python, by their names.

A part is named by its path in the models, such as `("stages", "price", "process", 0, "filter")`. `Positions` is what
a problem is told with; a file's document is one (`papyra_flow.config.documents`), `Unplaced` is the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from papyra_flow.errors import Problem

Path: TypeAlias = tuple[str | int, ...]

_NAMED = {"stages": "stage", "streams": "stream", "tests": "test"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value stand; lines and columns count from 1."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Spot:
    """A character inside the text of a value; line and column count from 1 within that text."""

    text: str
    line: int
    column: int


class Positions(Protocol):
    """Looks up where parts of a pipeline are written, and tells problems with it."""

    def where(self, path: Path) -> Place | None:
        """The place of a part; None where it stands in no file."""

    def written(self, path: Path) -> list[tuple[int, str]]:
        """The lines of a part, with their numbers; none where it stands in no file."""

    def problem(
        self,
        path: Path,
        code: str,
        message: str,
        hint: str | None = None,
        *,
        at_key: bool = False,
        spot: Spot | None = None,
    ) -> Problem:
        """A problem at a part; `at_key` points to its key, `spot` into its text."""


class Unplaced:
    """The positions of a pipeline that stands in no file: its parts go by their names."""

    def __init__(self, pipeline: str, hide: Callable[[str], str] = str) -> None:
        self._pipeline = pipeline
        self._hide = hide

    def where(self, path: Path) -> Place | None:
        """Nowhere."""
        return None

    def written(self, path: Path) -> list[tuple[int, str]]:
        """Nothing."""
        return []

    def problem(
        self,
        path: Path,
        code: str,
        message: str,
        hint: str | None = None,
        *,
        at_key: bool = False,
        spot: Spot | None = None,
    ) -> Problem:
        """A problem at a part of the pipeline, such as `pipeline 'shop', stage 'price', process[0].filter`."""
        hidden = self._hide(hint) if hint else None
        return Problem(name_of(self._pipeline, path), None, None, code, self._hide(message), hidden)


def name_of(pipeline: str, path: Path) -> str:
    """A part of a pipeline, for a message where no file is."""
    parts = [f"pipeline {pipeline!r}"]
    if len(path) > 1 and path[0] in _NAMED:
        parts.append(f"{_NAMED[str(path[0])]} {path[1]!r}")
        path = path[2:]
    inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return ", ".join([*parts, inner] if inner else parts)
