"""A pipeline's topology: stages, streams, and the graph that they form.

What the runtime runs, what `plan` compares and what `graph` draws is this one structure. What does not live
here: making it from a file (`build`), and whether it makes sense (`checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx

from papyra_flow.connectors.base import ConnectorContext, SinkConfig, SourceConfig
from papyra_flow.spec import defaults
from papyra_flow.spec.components import Component, SetupContext
from papyra_flow.spec.models import Settings, StageConfig, StreamConfig
from papyra_flow.spec.own_figures import OwnFigures
from papyra_flow.spec.secrets import Secrets, without_passwords
from papyra_flow.steps.base import Merge, OfTable, Step, StepConfig
from papyra_flow.streams.connection.addresses import names_cluster
from papyra_flow.streams.groups.lifecycle import GroupSpec
from papyra_flow.streams.keys import Keyspace, slot_of


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A way out of a stage: a stream's name, and its condition."""

    stream: str
    when: str | None = None


@dataclass(slots=True)
class StreamSpec:
    """A stream: its name in the file, its key, who of the pipeline writes and reads it."""

    name: str
    key: str
    config: StreamConfig
    declared: bool = False
    implicit: bool = False
    """Made by the planner, between a source and the steps of the same stage."""
    replay: bool = False
    """Made by the planner, for a stage's dead letters that are to be tried again."""
    writers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)

    @property
    def hidden(self) -> bool:
        """Whether it is left out of what people are shown."""
        return self.replay

    @property
    def internal(self) -> bool:
        """Whether the planner made it, so that the file does not name it."""
        return self.implicit or self.replay

    @property
    def external(self) -> bool:
        """Whether the key belongs to others: it is never trimmed and never deleted."""
        return self.config.key is not None

    @property
    def retain(self) -> str | float:
        """`acked`, `all`, or seconds that acked entries are kept."""
        if self.external:
            return "all"
        if self.config.retain is not None:
            return self.config.retain
        return "acked" if self.readers else "all"

    @property
    def max_backlog(self) -> int | None:
        """The backlog at which writers pause; None where no stage of the pipeline reads it."""
        default = defaults.TABLES_IN_BACKLOG if self.holds_tables else defaults.RECORDS_IN_BACKLOG
        return (self.config.max_backlog or default) if self.readers else None

    @property
    def holds_tables(self) -> bool:
        """Whether its entries are tables of records."""
        return self.config.format == "arrow"


@dataclass(slots=True)
class StageSpec:
    """A stage, with all that is needed to run it."""

    name: str
    config: StageConfig
    settings: Settings
    group: str
    source: SourceConfig | None
    source_to: tuple[str, ...]
    """Streams that the source's records go to: the stage's own, or the implicit one before its steps."""
    inputs: tuple[str, ...]
    """Streams that the stage's group reads; none for a stage that is only a source."""
    steps: tuple[StepConfig, ...]
    reads_tables: bool
    """Whether its entries are tables of records."""
    first_on_tables: int | None
    """The number of the first step that gets tables; None where everything is a record."""
    merge: Merge | None
    """How the records of a batch become one table before that step; None if they do not."""
    routes: tuple[RouteSpec, ...]
    sink: SinkConfig | None
    replay: str | None
    """The stream that the stage's dead letters are put back to; None for a stage that is only a source."""
    dead_key: str
    source_lease: str
    sink_lease: str

    def build_step(self, number: int, context: SetupContext) -> Step | OfTable | None:
        """A step ready to run, in the form that it has at its place; None for the `batch` that is just a border.

        Raises ValueError, ConnectorError or UsageError with one sentence if it cannot be.
        """
        step = self.steps[number]
        if self.first_on_tables is None or number < self.first_on_tables:
            return step.build(context)
        if number == self.first_on_tables and self.merge is not None and self.merge.alone:
            return None
        return step.build_table(context) or step.build(context)

    @property
    def exclusive(self) -> bool:
        """Whether only one consumer may be at work, because of its sink."""
        return self.sink is not None and self.sink.exclusive

    @property
    def components(self) -> tuple[Component, ...]:
        """Its source, its steps and its sink."""
        ends = (self.source, *self.steps, self.sink)
        return tuple(component for component in ends if component is not None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Streams that the stage's consumers forward to, each once."""
        return tuple(dict.fromkeys(route.stream for route in self.routes))


@dataclass(slots=True)
class Topology:
    """A pipeline's stages and streams, in the order of the file."""

    pipeline: str
    description: str | None
    redis: str
    folder: Path
    keys: Keyspace
    stages: dict[str, StageSpec]
    streams: dict[str, StreamSpec]
    secrets: Secrets = field(default_factory=Secrets)

    def inputs(self, stage: StageSpec) -> list[StreamSpec]:
        """The streams that a stage's group reads."""
        return [self.streams[name] for name in stage.inputs]

    def outputs(self, stage: StageSpec) -> list[StreamSpec]:
        """The streams that a stage's consumers forward to."""
        return [self.streams[name] for name in stage.outputs]

    def public(self, text: str) -> str:
        """Text that may be shown: without the file's secrets, and without the passwords of addresses in it."""
        return without_passwords(self.secrets.hide(text))

    def graph(self) -> nx.DiGraph[tuple[str, str]]:
        """The DAG: nodes are ("stage", name) and ("stream", name), edges follow the records."""
        graph: nx.DiGraph[tuple[str, str]] = nx.DiGraph()
        graph.add_nodes_from(("stage", name) for name in self.stages)
        for stream in self.streams.values():
            for writer in stream.writers:
                if not stream.internal:
                    graph.add_edge(("stage", writer), ("stream", stream.name))
            for reader in stream.readers:
                if not stream.internal:
                    graph.add_edge(("stream", stream.name), ("stage", reader))
        return graph

    def in_order(self) -> list[StageSpec]:
        """The stages, each after those that feed it; as in the file where that leaves a choice."""
        graph, position = self.graph(), {name: i for i, name in enumerate(self.stages)}
        nodes = nx.lexicographical_topological_sort(graph, key=lambda node: (position.get(node[1], -1), node[0]))
        return [self.stages[name] for kind, name in nodes if kind == "stage"]

    def groups(self, stages: Sequence[StageSpec] | None = None) -> list[GroupSpec]:
        """Every group that is to exist, or those of some stages."""
        return [
            GroupSpec(self.streams[name].key, stage.group, stage.config.start)
            for stage in (self.stages.values() if stages is None else stages)
            for name in stage.inputs
        ]

    @property
    def leases(self) -> list[str]:
        """The leases of all sources and exclusive sinks."""
        sources = [stage.source_lease for stage in self.stages.values() if stage.source is not None]
        return sources + [stage.sink_lease for stage in self.stages.values() if stage.exclusive]

    @property
    def bounded(self) -> bool:
        """Whether a run ends by itself: there are sources, and all of them end."""
        sources = [stage.source for stage in self.stages.values() if stage.source is not None]
        return bool(sources) and all(source.bounded for source in sources)

    def has_within_reach(self, key: str) -> bool:
        """Whether one commit can have this key and the pipeline's own: on a cluster, if their slots are the same."""
        return not names_cluster(self.redis) or slot_of(key) == slot_of(self.keys.applied)

    def step_context(self, stage: str = "", own: OwnFigures | None = None) -> SetupContext:
        """What a stage's steps are built with; `own` is where they count and measure."""
        return SetupContext(self.folder, self.pipeline, stage, self.redis, own or OwnFigures())

    def connector_context(self, stage: str) -> ConnectorContext:
        """What a stage's connectors are opened with."""
        most = self.stages[stage].settings.max_record
        return ConnectorContext(self.folder, self.pipeline, stage, self.redis, max_record=most)
