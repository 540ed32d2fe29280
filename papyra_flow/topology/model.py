"""A pipeline's topology: stages, streams, and the graph that they form.

What the runtime runs, what `plan` compares and what `graph` draws is this one structure. What does not live
here: making it from a file (`build`), and whether it makes sense (`checks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx

from papyra_flow.connectors.base import ConnectorContext, SinkConfig, SourceConfig
from papyra_flow.spec.components import Component, SetupContext
from papyra_flow.spec.models import Settings, StageConfig
from papyra_flow.spec.own_figures import OwnFigures
from papyra_flow.spec.secrets import Secrets, without_passwords
from papyra_flow.spec.tables import ReadState, TableRef
from papyra_flow.steps.base import Merge, OfTable, Step, StepConfig
from papyra_flow.streams.commit.ownership import PartitionKeys
from papyra_flow.streams.connection.addresses import names_cluster
from papyra_flow.streams.groups.lifecycle import GroupSpec
from papyra_flow.streams.keys import Keyspace, slot_of
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.streams import NamedStream, StreamSpec


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A way out of a stage: a stream's name, and its condition."""

    stream: str
    when: str | None = None


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
    """Streams in Redis that the stage's group reads; none for a stage that is only a source."""
    partitions: tuple[tuple[str, ...], ...]
    """Those by the number of the partition; what is not partitioned belongs to number 0."""
    steps: tuple[StepConfig, ...]
    reads_tables: bool
    """Whether its entries are tables of records."""
    first_on_tables: int | None
    """The number of the first step that gets tables; None where everything is a record."""
    merge: Merge | None
    """How the records of a batch become one table before that step; None if they do not."""
    keyed_step: int | None
    """The number of the step that keeps state by key; None where none does."""
    owned: bool
    """Whether each of its partitions has one owner at a time, who processes it in order."""
    routes: tuple[RouteSpec, ...]
    sink: SinkConfig | None
    replays: tuple[str, ...]
    """The streams that dead letters are put back to, by partition where those have owners; none for a mere source."""
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
    def goes_by_time(self) -> bool:
        """Whether what it gives depends on event times."""
        return self.keyed_step is not None and self.steps[self.keyed_step].goes_by_time

    @property
    def closes(self) -> bool:
        """Whether what its state keeps open closes when all of its input has arrived."""
        return self.keyed_step is not None and self.steps[self.keyed_step].closes

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
        """Streams of the file that the stage's consumers forward to, each once; last the one for late records."""
        late = self.late_stream
        return tuple(dict.fromkeys([*(route.stream for route in self.routes), *([late] if late is not None else [])]))

    @property
    def late_stream(self) -> str | None:
        """The stream that late records go to, where there is one."""
        return self.steps[self.keyed_step].late_stream if self.keyed_step is not None else None


@dataclass(slots=True)
class Topology:
    """A pipeline's stages and streams, in the order of the file; `streams` are those in Redis."""

    pipeline: str
    description: str | None
    redis: str
    folder: Path
    keys: Keyspace
    stages: dict[str, StageSpec]
    streams: dict[str, StreamSpec]
    secrets: Secrets = field(default_factory=Secrets)
    times: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """For each stage that needs event times, and each stream of the file that it reads: an expression, or None for what
    entries bring."""
    carried: frozenset[str] = frozenset()
    """Streams of the file whose records carry their event time as a header."""
    disorder: dict[str, int] = field(default_factory=dict)
    """Milliseconds that a record of such a stream may lie behind one before it; none for streams in order."""
    time_findings: tuple[Finding, ...] = ()
    """What is wrong with event times."""
    read_state: ReadState | None = None
    """Where the state of its stages is, if not on its server: in a test."""

    def inputs(self, stage: StageSpec) -> list[StreamSpec]:
        """The streams in Redis that a stage's group reads."""
        return [self.streams[name] for name in stage.inputs]

    def outputs(self, stage: StageSpec) -> list[StreamSpec]:
        """The streams in Redis that a stage's consumers forward to; partitions in their order."""
        return self.parts(stage.outputs)

    def parts(self, names: Iterable[str]) -> list[StreamSpec]:
        """Streams in Redis by the names that they have in the file; raises KeyError for one that is not there."""
        named = self.named
        return [part for name in names for part in named[name].parts]

    @property
    def named(self) -> dict[str, NamedStream]:
        """The streams as the file names them."""
        found: dict[str, list[StreamSpec]] = {}
        for stream in self.streams.values():
            found.setdefault(stream.of, []).append(stream)
        return {
            name: NamedStream(
                name, parts[0].key if parts[0].number is None else self.keys.any_partition(name), tuple(parts)
            )
            for name, parts in found.items()
        }

    def reads(self, stage: StageSpec) -> list[str]:
        """What a stage reads, as people see it: without what the planner made for its dead letters."""
        found = [stream for stream in self.inputs(stage) if not stream.hidden]
        return list(dict.fromkeys(stream.of for stream in found))

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
                    graph.add_edge(("stage", writer), ("stream", stream.of))
            for reader in stream.readers:
                if not stream.internal:
                    graph.add_edge(("stream", stream.of), ("stage", reader))
        return graph

    def in_order(self) -> list[StageSpec]:
        """The stages, each after those that feed it; as in the file where that leaves a choice."""
        graph, position = self.graph(), {name: i for i, name in enumerate(self.stages)}
        nodes = nx.lexicographical_topological_sort(graph, key=lambda node: (position.get(node[1], -1), node[0]))
        return [self.stages[name] for kind, name in nodes if kind == "stage"]

    def upstream(self, stages: Iterable[str]) -> list[StageSpec]:
        """These stages and all that feed them, in the order of the file."""
        found: dict[str, StageSpec] = {}
        waiting = list(stages)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self.stages[name]
                waiting += [writer for stream in found[name].inputs for writer in self.streams[stream].writers]
        return [stage for stage in self.stages.values() if stage.name in found]

    def groups(self, stages: Sequence[StageSpec] | None = None) -> list[GroupSpec]:
        """Every group that is to exist, or those of some stages."""
        return [
            GroupSpec(self.streams[name].key, stage.group, stage.config.start)
            for stage in (self.stages.values() if stages is None else stages)
            for name in stage.inputs
        ]

    def hands_on_time(self, stage: StageSpec) -> bool:
        """Whether a stage's records have to carry their event time on."""
        return not self.carried.isdisjoint(stage.outputs)

    def partitions(self, stage: StageSpec) -> list[PartitionKeys]:
        """The partitions of a stage that has owners."""
        found = []
        for number, names in enumerate(stage.partitions):
            keys = self.keys.partition(number) if len(stage.partitions) > 1 else self.keys
            streams = tuple(self.streams[name].key for name in names)
            name = stage.name
            found.append(PartitionKeys(keys.owner(name), keys.state(name), keys.timers(name), streams))
        return found

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
        return SetupContext(
            self.folder, self.pipeline, stage, self.redis, own or OwnFigures(), self.tables, self.read_state
        )

    @property
    def tables(self) -> dict[str, TableRef | None]:
        """The stages, each with the table that it keeps, if it keeps one."""
        found: dict[str, TableRef | None] = {}
        for name, stage in self.stages.items():
            kept = next((kept for step in stage.steps if (kept := step.kept_table()) is not None), None)
            hashes = tuple(partition.state for partition in self.partitions(stage))
            found[name] = TableRef(hashes, kept) if kept is not None else None
        return found

    def connector_context(self, stage: str) -> ConnectorContext:
        """What a stage's connectors are opened with."""
        most = self.stages[stage].settings.max_record
        return ConnectorContext(self.folder, self.pipeline, stage, self.redis, max_record=most)
