"""Where a picture's nodes and edges go on a page: layers from left to right (Sugiyama), by grandalf.

Graphviz is not needed. Text is measured by its number of characters, which is exact for the fonts of fixed width that
the drawings use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.drawing.picture import Edge, Node, Picture

CHARACTER = 7.3
"""Pixels that a character of 12 px takes."""

LINE = 16
PADDING = 10
WIDEST = 38
"""Maximum characters of a line; longer ones are cut, their whole text is in the tooltip."""

SMALL_CHARACTER = 6.2
"""Pixels that a character of a condition takes."""

BETWEEN_LAYERS = 40
BETWEEN_NODES = 22
ROUNDS = 8
"""Times that crossings are looked for."""

MARGIN = 24


@dataclass(frozen=True, slots=True)
class Box:
    """A node's place: its upper left corner, its size, and the lines of text in it."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]
    dead: Node | None = None
    """The stage's dead letters, drawn at its foot."""


@dataclass(frozen=True, slots=True)
class EdgePath:
    """An edge's way: points from the source's right side to the target's left."""

    edge: Edge
    points: tuple[tuple[float, float], ...]

    @property
    def condition(self) -> str:
        """The condition, as far as it fits."""
        return cut(self.edge.when or "")

    @property
    def label(self) -> tuple[float, float]:
        """Where the condition ends: before the first piece does, on the side from which the curve does not come."""
        (_, from_y), (x, y) = self.points[:2]
        return x - 8, y - 6 if y <= from_y else y + 13

    @property
    def path(self) -> str:
        """The way as an SVG path: curves that leave and arrive level (https://www.w3.org/TR/SVG2/paths.html)."""
        (x, y), *rest = self.points
        parts = [f"M{x:.1f},{y:.1f}"]
        for to_x, to_y in rest:
            half = (x + to_x) / 2
            parts.append(f"C{half:.1f},{y:.1f} {half:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}")
            x, y = to_x, to_y
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture on a page."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    routes: tuple[EdgePath, ...]


def lay_out(picture: Picture) -> Layout:
    """Give everything a place; the same picture always gets the same."""
    dead = {edge.source: edge.target for edge in picture.edges if edge.dead}
    nodes = {node.id: node for node in picture.nodes}
    shown = [node for node in picture.nodes if node.kind != "dead"]
    edges = [edge for edge in picture.edges if not edge.dead]
    sizes = {node.id: _size(node, has_dead=node.id in dead) for node in shown}
    places, bends = _places(shown, edges, sizes)
    boxes = tuple(
        Box(node, *places[node.id], *sizes[node.id], _lines(node), nodes.get(dead.get(node.id, "")))
        for node in shown
    )  # fmt: skip
    by_id = {box.node.id: box for box in boxes}
    routes = tuple(_route(edge, by_id, bends[number]) for number, edge in enumerate(edges))
    width = max((box.x + box.width for box in boxes), default=0) + MARGIN
    lowest = [box.y + box.height for box in boxes] + [y for route in routes for _, y in route.points]
    return Layout(width, max(lowest, default=0) + MARGIN, boxes, routes)


def _lines(node: Node) -> tuple[str, ...]:
    return tuple(cut(line) for line in (node.label, *node.body, *node.figures))


def cut(line: str) -> str:
    """A line of text, no longer than what fits."""
    return line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"


def _size(node: Node, *, has_dead: bool) -> tuple[float, float]:
    lines = _lines(node)
    slope = 24 if node.kind in {"source", "sink"} else 0
    width = max(map(len, lines)) * CHARACTER + 2 * PADDING + slope
    return max(90.0, round(width, 1)), len(lines) * LINE + PADDING + (
        12 if node.kind == "stream" else 6
    ) + 14 * has_dead


Point = tuple[float, float]


def _places(
    nodes: Sequence[Node], edges: Sequence[Edge], sizes: dict[str, tuple[float, float]]
) -> tuple[dict[str, Point], list[list[Point]]]:
    """The corners of nodes, and the bends of edges; each part that hangs together below the one before it."""
    from grandalf.graphs import Edge as GraphEdge
    from grandalf.graphs import Graph, Vertex
    from grandalf.layouts import SugiyamaLayout, VertexViewer
    from grandalf.routing import EdgeViewer

    # grandalf's layers go down the page: sizes and places are turned on the way in and out.
    vertices = {node.id: Vertex(node.id) for node in nodes}
    for name, vertex in vertices.items():
        width, height = sizes[name]
        vertex.view = VertexViewer(w=height, h=width)
    links = [GraphEdge(vertices[edge.source], vertices[edge.target], data=n) for n, edge in enumerate(edges)]
    for link in links:
        link.view = EdgeViewer()
    graph = Graph(list(vertices.values()), links)
    places: dict[str, Point] = {}
    bends: list[list[Point]] = [[] for _ in edges]
    top = float(MARGIN)
    for component in graph.C:
        ways: dict[int, list[Point]] = {}
        layout = SugiyamaLayout(component)
        layout.xspace, layout.yspace = BETWEEN_NODES, BETWEEN_LAYERS
        layout.route_edge = lambda edge, points, ways=ways: ways.__setitem__(edge.data, points[1:-1])
        layout.init_all(roots=[vertex for vertex in component.sV if not vertex.e_in()], optimize=True)
        layout.draw(ROUNDS)
        corners = {v.data: (v.view.xy[0] - v.view.w / 2, v.view.xy[1] - v.view.h / 2, v.view.w) for v in component.sV}
        bent = [x for way in ways.values() for x, _ in way]
        left = min([*bent, *(x for x, _, _ in corners.values())])
        above = min(y for _, y, _ in corners.values())
        ranks = {v.data: layout.grx[v].rank for v in component.sV}
        shifts = _shifts(len(layout.layers), [(ranks[e.source], e.when) for e in edges if e.source in ranks])
        for name, (x, y, _) in corners.items():
            places[name] = (round(y - above + MARGIN + shifts[ranks[name]], 1), round(x - left + top, 1))
        for number, way in ways.items():
            first = ranks[edges[number].source] + 1
            bends[number] = [
                (y - above + MARGIN + shifts[rank], x - left + top) for rank, (x, y) in enumerate(way, start=first)
            ]
        top += max([*bent, *(x + w for x, _, w in corners.values())]) - left + 2 * BETWEEN_NODES
    return places, bends


def _shifts(layers: int, edges: Sequence[tuple[int, str | None]]) -> list[float]:
    """How far each layer moves on, to leave room for the conditions of the edges that begin in those before it."""
    room = [0.0] * layers
    for rank, when in edges:
        if when is not None:
            room[rank] = max(room[rank], len(cut(when)) * SMALL_CHARACTER)
    return [sum(room[:rank]) for rank in range(layers)]


def _route(edge: Edge, boxes: dict[str, Box], bends: Sequence[Point]) -> EdgePath:
    """From the middle of one side to the middle of the other, by the bends between."""
    source, target = boxes[edge.source], boxes[edge.target]
    slope = {"source": 8, "sink": 8}
    start = (source.x + source.width - slope.get(source.node.kind, 0), source.y + source.height / 2)
    end = (target.x + slope.get(target.node.kind, 0) - 3, target.y + target.height / 2)
    between = [(round(x, 1), round(y, 1)) for x, y in bends]
    return EdgePath(edge, (start, *between, end))
