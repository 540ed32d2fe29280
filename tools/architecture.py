"""The picture of the rooms, drawn from the imports: `python tools/architecture.py` writes docs/images/architecture.svg.

A room is a folder of `papyra_flow`; an arrow leads from one that imports to one that is imported. Where a way leads
through other rooms anyway, the direct arrow is left out (transitive reduction). The order from top to bottom is the
longest way.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape
from itertools import pairwise
from pathlib import Path

import grimp
import networkx as nx

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
PACKAGE = "papyra_flow"
BASE = "base"
"""The modules that lie beside the rooms: errors, what is said of them, standard output."""

WIDTH = 640
BOX, LINE, GAP, BETWEEN = 20, 15, 26, 44
CHARACTER = 6.6

STYLE = """
  text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2430 }
  .name { font-weight: bold; font-size: 13px } .sub { fill: #5b6472; font-size: 11px }
  rect { fill: #f6f7fb; stroke: #8791a5; rx: 6 } path { fill: none; stroke: #9aa3b5; stroke-width: 1.2 }
  marker path { fill: #9aa3b5; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e9f0 } .sub { fill: #a3acbd } rect { fill: #262a35; stroke: #6b7486 } path { stroke: #7b8496 }
    marker path { fill: #7b8496 }
  }
"""


def rooms() -> nx.DiGraph[str]:
    """The rooms, and who imports whom; a room's `lines` name its sub-rooms."""
    imports = grimp.build_graph(PACKAGE)
    found: nx.DiGraph[str] = nx.DiGraph()
    parts: dict[str, set[str]] = defaultdict(set)
    for module in sorted(imports.modules - {PACKAGE, f"{PACKAGE}.__main__"}):
        room = _room(module, imports)
        found.add_node(room)
        below = module.split(".")[2:]
        if below and imports.find_children(f"{PACKAGE}.{room}.{below[0]}"):
            parts[room].add(below[0])
        for other in imports.find_modules_directly_imported_by(module) - {PACKAGE}:
            if (there := _room(other, imports)) != room:
                found.add_edge(room, there)
    for room in found:
        found.nodes[room]["lines"] = _wrapped(sorted(parts[room]))
    return found


def _room(module: str, imports: grimp.ImportGraph) -> str:
    top = ".".join(module.split(".")[:2])
    others = imports.find_modules_directly_imported_by(top)
    alone = not imports.find_children(top) and all(other.count(".") == 1 for other in others)
    return BASE if alone else top.removeprefix(f"{PACKAGE}.")


def _wrapped(names: list[str], width: int = 34) -> list[str]:
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + 3 + len(name) <= width:
            lines[-1] += f" · {name}"
        else:
            lines.append(name)
    return lines


def drawn(graph: nx.DiGraph[str]) -> str:
    """The picture as SVG; raises networkx.NetworkXError where rooms import each other in a circle."""
    reduced = nx.transitive_reduction(graph)
    levels: dict[str, int] = {}
    for room in reversed(list(nx.topological_sort(graph))):
        levels[room] = max((levels[other] + 1 for other in graph.successors(room)), default=0)
    rows = [sorted(room for room in graph if levels[room] == level) for level in range(max(levels.values()) + 1)]
    ways: list[list[str]] = []
    for start, end in sorted(reduced.edges):
        lanes = [f"{start}>{end}>{level}" for level in range(levels[start] - 1, levels[end], -1)]
        for lane in lanes:  # an arrow that passes a row has a place of its own in it
            rows[int(lane.rpartition(">")[2])].append(lane)
        ways.append([start, *lanes, end])
    places, y = {}, 12.0
    for row in reversed(rows):
        sizes = {room: _size(room, graph.nodes[room]["lines"]) if room in graph else (0.0, 0.0) for room in row}
        height = max(height for _, height in sizes.values())
        x = (WIDTH - sum(width for width, _ in sizes.values()) - GAP * (len(row) - 1)) / 2
        for room in row:
            width, own = sizes[room]
            places[room] = (x, y, width, own or height)
            x += width + GAP
        y += height + BETWEEN
    arrows = "".join(_way([places[room] for room in way]) for way in ways)
    boxes = "".join(_box(room, graph.nodes[room]["lines"], places[room]) for room in sorted(graph))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - BETWEEN + 12:.0f}" role="img" '
        f'aria-label="The rooms of papyra-flow, and which imports which">\n<style>{STYLE}</style>\n'
        '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>\n'
        f"{arrows}{boxes}</svg>\n"
    )


def _size(room: str, lines: list[str]) -> tuple[float, float]:
    longest = max(len(room) + 2, *(len(line) for line in lines), 0)
    return longest * CHARACTER + 2 * 10, BOX + LINE * len(lines) + 10


def _box(room: str, lines: list[str], place: tuple[float, float, float, float]) -> str:
    x, y, width, height = place
    text = "".join(
        f'<text class="sub" x="{x + 10:.1f}" y="{y + BOX + LINE * (number + 1) - 1:.1f}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        f'<text class="name" x="{x + 10:.1f}" y="{y + 18:.1f}">{escape(room)}</text>{text}\n'
    )


def _way(places: list[tuple[float, float, float, float]]) -> str:
    """An arrow from the first place to the last, straight through those between."""
    path = ""
    for (x, y, width, height), (to_x, to_y, to_width, _) in pairwise(places):
        a, b, c, d = x + width / 2, y + height, to_x + to_width / 2, to_y - 1
        bend = (d - b) / 2
        path += f"{'L' if path else 'M'}{a:.1f},{b:.1f} C{a:.1f},{b + bend:.1f} {c:.1f},{d - bend:.1f} {c:.1f},{d:.1f} "
    return f'<path d="{path.rstrip()}" marker-end="url(#to)"/>\n'


def picture() -> str:
    """The picture as the imports are now."""
    return re.sub(r"[ \t]+\n", "\n", drawn(rooms()))


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
