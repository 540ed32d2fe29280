"""The picture of a topology as nodes and edges, from which every format is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

from papyra_flow.drawing.theme import LookName, NodeKind
from papyra_flow.spec.positions import Positions
from papyra_flow.spec.units import format_duration
from papyra_flow.topology.descriptions import partition_words, retention_words, state_words
from papyra_flow.topology.keyed import keyed_of
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import NamedStream
from papyra_flow.topology.versions import kind_of_records, versions_in


@dataclass(slots=True)
class Node:
    """A node of the picture; `lines` say what is done in it."""

    id: str
    kind: NodeKind
    label: str
    lines: list[str] = field(default_factory=list)
    description: str | None = None
    keyed: bool = False
    """Whether it is a stage that keeps state, and is drawn as one."""
    replicas: int = 1
    """Consumers that share the work."""
    settings: dict[str, str] = field(default_factory=dict)
    yaml: list[tuple[int, str]] = field(default_factory=list)
    """Its lines in the file, with their numbers."""
    figures: list[str] = field(default_factory=list)
    """What the server says of it."""
    alarming: bool = False
    """Whether those figures need attention."""

    @property
    def look(self) -> LookName:
        """The name of its look."""
        return "keyed" if self.keyed else self.kind

    @property
    def body(self) -> list[str]:
        """What is written in it, below its label."""
        return [*self.lines, f"{self.replicas} consumers"] if self.replicas > 1 else self.lines


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
    description: str | None = None

    def as_json(self) -> dict[str, object]:
        """Nodes and edges under the names of the command line's contract."""
        nodes: list[dict[str, object]] = []
        for node in self.nodes:
            shown: dict[str, object] = {"id": node.id, "kind": node.kind, "label": node.label}
            more = {"lines": node.lines, "description": node.description, "settings": node.settings}
            shown |= {name: value for name, value in more.items() if value}
            if node.keyed:
                shown["keyed"] = True
            if node.figures:
                shown |= {"figures": node.figures, "alarming": node.alarming}
            nodes.append(shown)
        edges: list[dict[str, object]] = []
        for edge in self.edges:
            shown = {"from": edge.source, "to": edge.target}
            if edge.when is not None:
                shown["when"] = edge.when
            if edge.dead:
                shown["dead"] = True
            edges.append(shown)
        return {"pipeline": self.pipeline, "nodes": nodes, "edges": edges}


def picture(topology: Topology, positions: Positions | None = None) -> Picture:
    """The nodes and edges of a topology, in the order in which records pass them.

    With the `positions` of a file, nodes know their lines in it. Nothing in a picture is secret.
    """
    drawing = _Drawing(topology, positions)
    for stage in topology.in_order():
        drawing.add(stage)
    description = topology.public(topology.description) if topology.description else None
    return Picture(topology.pipeline, list(drawing.nodes.values()), drawing.edges, description)


class _Drawing:
    """Nodes and edges as far as they are there."""

    def __init__(self, topology: Topology, positions: Positions | None) -> None:
        self.topology = topology
        self._named = topology.named
        self._versions = versions_in(topology)
        self.positions = positions
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []

    def add(self, stage: StageSpec) -> None:
        """A stage, what it reads and what it writes."""
        public, identity = self.topology.public, f"stage:{stage.name}"
        if stage.source is not None:
            source = Node(f"source:{stage.name}", "source", public(stage.source.describe()))
            source.yaml = self._yaml("stages", stage.name, "read")
            source.settings = {"promise": f"{stage.source.promise}: {stage.source.because}"}
            self.nodes[source.id] = source
            self.edges.append(Edge(source.id, identity))
        for name in self.topology.reads(stage):
            if not self._named[name].spec.internal:
                self.edges.append(Edge(self._stream(name), identity))
        self.nodes[identity] = self._stage(stage, identity)
        for route in stage.routes:
            when = public(route.when) if route.when else None
            self.edges.append(Edge(identity, self._stream(route.stream), when))
        if stage.late_stream is not None and stage.late_stream not in {route.stream for route in stage.routes}:
            self.edges.append(Edge(identity, self._stream(stage.late_stream), "late"))
        if not stage.routes and stage.source is not None and stage.sink is None:
            self.edges += [Edge(identity, self._stream(name)) for name in stage.source_to]
        if stage.sink is not None:
            sink = Node(f"sink:{stage.name}", "sink", public(stage.sink.describe()))
            sink.yaml = self._yaml("stages", stage.name, "write")
            sink.settings = {"promise": f"{stage.sink.promise}: {stage.sink.because}"}
            self.nodes[sink.id] = sink
            self.edges.append(Edge(identity, sink.id))
        if stage.settings.on_error == "dead":
            dead = Node(f"dead:{stage.name}", "dead", f"dead letters of {stage.name}")
            dead.settings = {"key": stage.dead_key}
            self.nodes[dead.id] = dead
            self.edges.append(Edge(identity, dead.id, dead=True))

    def _stage(self, stage: StageSpec, identity: str) -> Node:
        public, settings = self.topology.public, stage.settings
        node = Node(identity, "stage", stage.name, [public(step.describe()) for step in stage.steps])
        node.description = public(stage.config.description or "") or None
        node.yaml = self._yaml("stages", stage.name)
        node.keyed = stage.keyed_step is not None
        if stage.owned:
            node.lines.append(public(state_words(stage, keyed_of(self.topology, stage))))
            node.settings["partitions"] = str(len(stage.partitions))
        if stage.inputs:
            node.replicas = settings.consumers
            wait = f", waits {format_duration(settings.batch_wait)}" if settings.batch_wait else ""
            node.settings |= {
                "group": stage.group,
                "consumers": str(settings.consumers),
                "batch": f"{settings.batch_size}{wait}",
                "retry": f"{settings.attempts} attempts, {settings.backoff}, then {settings.on_error}",
                "claim after": format_duration(settings.claim_after),
                "max pending": f"{settings.max_pending:,}",
            }
        return node

    def _stream(self, name: str) -> str:
        named, identity = self._named[name], f"stream:{name}"
        stream = named.spec
        if identity not in self.nodes:
            lines = [stream.key] if stream.external else []
            lines += ["tables (arrow)"] if stream.holds_tables else []
            words = partition_words(named.partitions, stream.config.by)
            lines += [self.topology.public(words)] if words else []
            lines += [self.topology.public(str(self._versions[name]))] if name in self._versions else []
            node = Node(identity, "stream", name.removeprefix("key:"), lines)
            node.settings = _stream_settings(named)
            node.settings["records"] = self.topology.public(kind_of_records(self._versions, name))
            node.yaml = self._yaml("streams", name)
            self.nodes[identity] = node
        return identity

    def _yaml(self, *path: str) -> list[tuple[int, str]]:
        """The lines of a part of the file: from its key on, as far as they are further in."""
        public = self.topology.public
        lines = self.positions.written(path) if self.positions is not None else []
        found = [(number, public(line.rstrip())) for number, line in lines]
        while found and not found[-1][1]:
            found.pop()
        return found


def _stream_settings(named: NamedStream) -> dict[str, str]:
    stream = named.spec
    found = {"key": named.key, "format": stream.config.format, "retention": retention_words(stream)}
    if stream.max_backlog is not None:
        found["max backlog"] = f"{stream.max_backlog:,}"
    return found
