"""A stage's group under the name that it had before: what stays behind if the stage begins with a new one.

On a stream that others use too, a stage's group is named `pipeline.stage`, so that two pipelines do not share one. A
group `stage` that is there is from before that, or another pipeline's: which of them, only the file's author knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from papyra_flow.streams.groups.snapshot import GroupPosition, StreamsSnapshot
from papyra_flow.topology.model import StageSpec, Topology


@dataclass(frozen=True, slots=True)
class FormerGroup:
    """A group that may have been a stage's, on a stream where the stage would begin with a group of its own."""

    stage: str
    key: str
    group: str
    new_group: str
    start: str
    at: str
    pending: int
    lag: int

    def __str__(self) -> str:
        begin = {"0": "at the stream's beginning", "$": "with new records only"}.get(self.start, f"after {self.start}")
        return (
            f"the group {self.group!r} on {self.key}, at {self.at} with {self.pending:,} pending, may belong to an "
            f"earlier version of this stage or to another pipeline: set `group: {self.group}` in the stage "
            f"{self.stage!r} to continue from it, or `group: {self.new_group}` to start {begin}"
        )


def former_groups(topology: Topology, positions: StreamsSnapshot) -> list[FormerGroup]:
    """The groups that stages would leave behind by beginning with a new one; none where `group` says which it is."""
    found = []
    for stage in renamed(topology.stages.values()):
        for name in stage.inputs:
            stream = positions.streams[topology.streams[name].key]
            at = stream.groups.get(stage.name)
            if at is not None and stage.group not in stream.groups and _matters(at, stream.length):
                found.append(
                    FormerGroup(
                        stage.name, stream.key, stage.name, stage.group, stage.config.start, at.last_delivered,
                        at.pending, at.lag,
                    )
                )  # fmt: skip
    return found


def renamed(stages: Iterable[StageSpec]) -> list[StageSpec]:
    """The stages whose group has another name than the stage, and not by the file's own word."""
    return [s for s in stages if s.config.group is None and s.inputs and s.group != s.name]


def _matters(at: GroupPosition, length: int) -> bool:
    return bool(length or at.pending)
