"""What becomes of a batch's failures: each is put into the commit, or kept for another attempt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry
from papyra_flow.records.rows import Failures
from papyra_flow.runtime.stage.failure import dead_fields
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.groups.delayed import fields_to_wait


@dataclass(slots=True)
class FailureOutcome:
    """What was decided on a batch's failures."""

    again: list[tuple[Entry, float]] = field(default_factory=list)
    later: list[Entry] = field(default_factory=list)
    """Those whose next attempt the server keeps."""
    dead: list[Entry] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)
    halted: tuple[Entry, Exception] | None = None


def settle(
    stage: StageRuntime, batch: Batch, failures: Failures, commit: Commit, gone: Collection[bytes] = ()
) -> FailureOutcome:
    """Decide on every failure, and put the dead, the dropped and those that wait into the commit; not the `gone`."""
    fate = FailureOutcome()
    for place, exc in failures.items():
        if batch.ids[place] in gone:
            continue
        entry = batch.entry(place)
        verdict = stage.policy.judge(entry, exc)
        if verdict.kept and commit.wait(entry.id, int(verdict.delay * 1000), fields_to_wait(entry)):
            fate.later.append(entry)
        elif verdict.action == "retry":
            fate.again.append((entry, verdict.delay))
        elif verdict.action == "dead":
            letter = dead_fields(entry, exc, stage.name, stage.context.topology.public)
            commit.emit(entry.id, [(stage.targets.dead, letter)])
            fate.dead.append(entry)
        elif verdict.action == "drop":
            commit.ack(entry.id)
            fate.dropped.append(entry)
        else:
            fate.halted = fate.halted or (entry, exc)
    return fate
