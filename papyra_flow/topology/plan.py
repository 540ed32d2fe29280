"""The plan: what a run would create on a server, what is there already, and what each link promises.

Desired against actual, as data; the words are for people, the fields for scripts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from papyra_flow.streams.groups.snapshot import StreamsSnapshot
from papyra_flow.topology.descriptions import retention_words, state_words
from papyra_flow.topology.keyed import keyed_of
from papyra_flow.topology.migration import FormerGroup, former_groups
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.orphans import Orphan, known_keys, orphans
from papyra_flow.topology.streams import NamedStream
from papyra_flow.topology.versions import kind_of_records, versions_in

State = Literal["create", "exists", "foreign", "wrong-type"]


@dataclass(slots=True)
class PlannedStream:
    """A stream: `create` if its key is missing, `foreign` if the file knows nothing of it."""

    name: str
    key: str
    state: State
    length: int
    retain: str
    max_backlog: int | None
    partitions: int | None = None
    by: list[str] = field(default_factory=list)
    records: str = "append"
    """Whether its records are new versions of rows, `upsert by KEY`, or each one of its own."""


@dataclass(slots=True)
class PlannedStage:
    """A stage with owners: what it keeps by which key, and how much of it there is."""

    name: str
    partitions: int
    keeps: str
    """What it keeps, in words such as `state by customer, 1m windows`."""
    grows: str | None
    """What of it grows for ever."""
    owners: list[str | None] = field(default_factory=list)
    state_entries: int = 0
    state_bytes: int = 0
    watermark: str | None = None


@dataclass(slots=True)
class PlannedGroup:
    """A group: where it is, or where it will start."""

    stream: str
    key: str
    group: str
    state: State
    at: str
    pending: int
    lag: int


@dataclass(slots=True)
class Link:
    """What holds for records on their way from one node to the next, and why."""

    source: str
    target: str
    promise: str
    because: str


@dataclass(slots=True)
class Plan:
    """Desired against actual, of one pipeline on one server."""

    pipeline: str
    server: str
    streams: list[PlannedStream] = field(default_factory=list)
    groups: list[PlannedGroup] = field(default_factory=list)
    stages: list[PlannedStage] = field(default_factory=list)
    """Those that have owners."""
    links: list[Link] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    """What stays behind on the server: groups, streams and dead letters that the file does not know any more."""
    former_groups: list[FormerGroup] = field(default_factory=list)
    """What keeps a run from starting: groups that stages may have had under another name."""
    repartitioned: list[str] = field(default_factory=list)
    """What keeps a run from starting: streams that have other partitions on the server, with something in them."""
    reshaped: list[str] = field(default_factory=list)
    """What keeps a run from starting: stages whose state does not fit any more."""
    warnings: list[str] = field(default_factory=list)
    """What a changed file leaves behind, a sentence each."""

    @property
    def changes(self) -> int:
        """How many things a run would create."""
        states = [stream.state for stream in self.streams] + [group.state for group in self.groups]
        return states.count("create")


def make_plan(topology: Topology, positions: StreamsSnapshot, *, server: str, keys: Iterable[str] = ()) -> Plan:
    """Compare a topology with what a server has; `keys` are all keys under the pipeline's hash tag."""
    plan = Plan(topology.pipeline, server)
    versions = versions_in(topology)
    for stream in topology.named.values():
        if not stream.spec.hidden:
            plan.streams.append(_stream(stream, positions))
            plan.streams[-1].records = kind_of_records(versions, stream.name)
            plan.groups += _groups(topology, stream, positions)
    plan.stages = [_stage(topology, stage) for stage in topology.stages.values() if stage.owned]
    plan.links = list(_links(topology))
    plan.former_groups = former_groups(topology, positions)
    keys = set(keys)
    plan.unknown_keys = sorted(keys - known_keys(topology))
    plan.orphans = [one for one in orphans(topology, positions, keys) if one.holds_records and not one.of_others]
    return plan


def _stream(stream: NamedStream, positions: StreamsSnapshot) -> PlannedStream:
    """A stream as a whole: its partitions are created together, and one of a wrong type is one too many."""
    found = [positions.streams[key] for key in stream.keys]
    kinds = {position.kind for position in found}
    state: State = "wrong-type" if kinds - {"stream", "none"} else "create" if "none" in kinds else "exists"
    return PlannedStream(
        stream.name, stream.key, state, sum(position.length for position in found), retention_words(stream.spec),
        stream.spec.max_backlog, stream.partitions, list(stream.spec.config.by) if stream.partitions else [],
    )  # fmt: skip


def _stage(topology: Topology, stage: StageSpec) -> PlannedStage:
    """As the file has it; a look at the server knows the rest."""
    keyed = keyed_of(topology, stage)
    keeps, grows = state_words(stage, keyed), keyed.grows if keyed is not None else None
    return PlannedStage(stage.name, len(stage.partitions), keeps, grows)


def _groups(topology: Topology, stream: NamedStream, positions: StreamsSnapshot) -> Iterable[PlannedGroup]:
    """The groups on each key of a stream: those that are to be, and others that are there."""
    ours = {topology.stages[name].group: topology.stages[name].config.start for name in stream.spec.readers}
    for part in stream.parts:
        found = positions.streams[part.key]
        for group, start in ours.items():
            if group not in found.groups:
                yield PlannedGroup(part.name, part.key, group, "create", start, 0, found.length)
        for group, at in found.groups.items():
            state: State = "exists" if group in ours else "foreign"
            yield PlannedGroup(part.name, part.key, group, state, at.last_delivered, at.pending, at.lag)


def _links(topology: Topology) -> Iterable[Link]:
    for stage in topology.stages.values():
        if stage.source is not None:
            for name in stage.source_to:
                yield Link(topology.public(stage.source.describe()), name, stage.source.promise, stage.source.because)
        for source in topology.reads(stage):
            for name in stage.outputs:
                yield Link(source, name, "exactly-once", _because(stage))
            if stage.sink is not None:
                yield Link(source, topology.public(stage.sink.describe()), stage.sink.promise, stage.sink.because)


def _because(stage: StageSpec) -> str:
    if not stage.owned:
        return f"{stage.name} acks and forwards in one script"
    kept = ", state" if stage.keyed_step is not None else ""
    return f"{stage.name}: what leaves{kept} and position are one commit"
