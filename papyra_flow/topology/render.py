"""Drawing a topology: mermaid, dot and ascii by jinja2 templates, JSON as data.

All formats start from the same nodes and edges (`picture`). What does not live here: the templates themselves
(`templates/`), and the server's figures.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from papyra_flow.topology.model import Topology

Kind = Literal["stage", "stream", "source", "sink", "dead"]
FORMATS = ("mermaid", "dot", "ascii", "json")


@dataclass(slots=True)
class Node:
    """A node of the picture; `lines` are what is written in it below its label."""

    id: str
    kind: Kind
    label: str
    lines: list[str] = field(default_factory=list)
    description: str | None = None


@dataclass(slots=True)
class Edge:
    """An edge of the picture, with the condition under which records take it."""

    source: str
    target: str
    when: str | None = None
    dead: bool = False


@dataclass(slots=True)
class Picture:
    """What every format draws."""

    pipeline: str
    nodes: list[Node]
    edges: list[Edge]

    def as_json(self) -> dict[str, object]:
        """Nodes and edges under the names of the command line's contract."""
        nodes = [{k: v for k, v in asdict(node).items() if v not in (None, [])} for node in self.nodes]
        edges = []
        for edge in self.edges:
            shown: dict[str, object] = {"from": edge.source, "to": edge.target}
            if edge.when is not None:
                shown["when"] = edge.when
            if edge.dead:
                shown["dead"] = True
            edges.append(shown)
        return {"pipeline": self.pipeline, "nodes": nodes, "edges": edges}


def picture(topology: Topology) -> Picture:
    """The nodes and edges of a topology, in the order in which records pass them."""
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []

    def stream_node(name: str) -> str:
        stream = topology.streams[name]
        identity = f"stream:{name}"
        lines = [stream.key] if stream.external else []
        nodes.setdefault(identity, Node(identity, "stream", name.removeprefix("key:"), lines))
        return identity

    for stage in topology.in_order():
        identity = f"stage:{stage.name}"
        if stage.source is not None:
            label = topology.public(stage.source.describe())
            nodes[f"source:{stage.name}"] = Node(f"source:{stage.name}", "source", label)
            edges.append(Edge(f"source:{stage.name}", identity))
        for name in stage.inputs:
            if not topology.streams[name].internal:
                edges.append(Edge(stream_node(name), identity))
        lines = [topology.public(step.describe()) for step in stage.steps]
        if stage.inputs and stage.settings.consumers > 1:
            lines.append(f"{stage.settings.consumers} consumers")
        nodes[identity] = Node(
            identity, "stage", stage.name, lines, topology.public(stage.config.description or "") or None
        )
        if stage.routes:
            for route in stage.routes:
                edges.append(
                    Edge(identity, stream_node(route.stream), topology.public(route.when) if route.when else None)
                )
        elif stage.source is not None and stage.sink is None:
            edges += [Edge(identity, stream_node(name)) for name in stage.source_to]
        if stage.sink is not None:
            sink = f"sink:{stage.name}"
            nodes[sink] = Node(sink, "sink", topology.public(stage.sink.describe()))
            edges.append(Edge(identity, sink))
        if stage.settings.on_error == "dead":
            dead = f"dead:{stage.name}"
            nodes[dead] = Node(dead, "dead", f"dead letters of {stage.name}")
            edges.append(Edge(identity, dead, dead=True))
    return Picture(topology.pipeline, list(nodes.values()), edges)


def render(topology: Topology, format: str) -> str:  # noqa: A002 - the option's name
    """The picture in `mermaid`, `dot` or `ascii`, ending in a newline."""
    environment = Environment(
        loader=PackageLoader("papyra_flow.topology", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - no format here is HTML; each escapes by its own filter
    )
    environment.filters |= {"mermaid": _mermaid_text, "quoted": _quoted, "slug": _slug, "fit": _fit}
    return environment.get_template(f"{format}.j2").render(picture=picture(topology))


def _mermaid_text(text: str) -> str:
    """Text for a quoted mermaid label (https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters)."""
    return "".join(char if char.isalnum() or char in " .,:/*_=+-()[]'@" else f"#{ord(char)};" for char in text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _slug(identity: str) -> str:
    return re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_" if match[0] != ":" else "_", identity)


def _fit(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)
