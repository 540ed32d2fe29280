"""The plan: what a run would create on a server, what is there already, and what each link promises.

Desired against actual, as data; the words are for people, the fields for scripts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from papyra_flow.streams.groups.snapshot import StreamsSnapshot
from papyra_flow.topology.descriptions import retention_words
from papyra_flow.topology.migration import FormerGroup, former_groups
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import Orphan, known_keys, orphans

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
    links: list[Link] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    """What stays behind on the server: groups, streams and dead letters that the file does not know any more."""
    former_groups: list[FormerGroup] = field(default_factory=list)
    """What keeps a run from starting: groups that stages may have had under another name."""
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
    for stream in topology.streams.values():
        if stream.hidden:
            continue
        found = positions.streams[stream.key]
        states: dict[str, State] = {"stream": "exists", "none": "create"}
        plan.streams.append(
            PlannedStream(
                stream.name, stream.key, states.get(found.kind, "wrong-type"), found.length, retention_words(stream),
                stream.max_backlog,
            )
        )  # fmt: skip
        ours = {topology.stages[name].group: topology.stages[name].config.start for name in stream.readers}
        for group, start in ours.items():
            at = found.groups.get(group)
            if at is None:
                plan.groups.append(PlannedGroup(stream.name, stream.key, group, "create", start, 0, found.length))
            else:
                plan.groups.append(
                    PlannedGroup(stream.name, stream.key, group, "exists", at.last_delivered, at.pending, at.lag)
                )
        plan.groups += [
            PlannedGroup(stream.name, stream.key, name, "foreign", at.last_delivered, at.pending, at.lag)
            for name, at in found.groups.items()
            if name not in ours
        ]
    plan.links = list(_links(topology))
    plan.former_groups = former_groups(topology, positions)
    keys = set(keys)
    plan.unknown_keys = sorted(keys - known_keys(topology))
    plan.orphans = [one for one in orphans(topology, positions, keys) if one.holds_records and not one.of_others]
    return plan


def _links(topology: Topology) -> Iterable[Link]:
    for stage in topology.stages.values():
        if stage.source is not None:
            for name in stage.source_to:
                yield Link(topology.public(stage.source.describe()), name, stage.source.promise, stage.source.because)
        for source in stage.inputs:
            if topology.streams[source].hidden:
                continue
            for name in stage.outputs:
                yield Link(source, name, "exactly-once", f"{stage.name} acks and forwards in one script")
            if stage.sink is not None:
                yield Link(source, topology.public(stage.sink.describe()), stage.sink.promise, stage.sink.because)
