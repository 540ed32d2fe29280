"""What each kind of thing looks like, everywhere: diagrams, terminal and web page use these and no other.

Colours are told apart in greyscale by their shapes and symbols, too, so that nothing depends on seeing colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NodeKind = Literal["stage", "stream", "source", "sink", "dead"]
LookName = Literal["stage", "keyed", "stream", "source", "sink", "dead"]
"""A kind of node, or `keyed` for a stage that keeps state."""


@dataclass(frozen=True, slots=True)
class Look:
    """A kind's colours (CSS), its shapes in mermaid and Graphviz, and its symbol where there is only text."""

    fill: str
    line: str
    symbol: str
    mermaid: tuple[str, str]
    dot: str


TEXT = "#111827"
LOOKS: Mapping[LookName, Look] = {
    "stage": Look("#dbeafe", "#1d4ed8", "▣", ("[", "]"), "box"),
    "keyed": Look("#ede9fe", "#6d28d9", "◫", ("([", "])"), "box3d"),
    "stream": Look("#f3f4f6", "#4b5563", "≡", ("[(", ")]"), "cylinder"),
    "source": Look("#dcfce7", "#15803d", "╱", ("[/", "/]"), "parallelogram"),  # noqa: RUF001
    "sink": Look("#fef9c3", "#a16207", "╲", ("[\\", "\\]"), "parallelogram"),
    "dead": Look("#fee2e2", "#b91c1c", "✗", ("{{", "}}"), "hexagon"),
}
