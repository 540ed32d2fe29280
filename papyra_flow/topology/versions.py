"""Which streams hold new versions of rows (`upsert by KEY`), and which hold records of their own (`append`).

Updates are not inserts: a step that counts or pairs records would count a row again with each of its versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from papyra_flow.steps.keyed import Keyed
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.keyed import keyed_of
from papyra_flow.topology.model import StageSpec, Topology


@dataclass(frozen=True, slots=True)
class Versions:
    """The fields by which a stream's records are versions of a row, and the stage that made them so."""

    by: tuple[str, ...]
    stage: str

    def __str__(self) -> str:
        return f"upsert by {', '.join(self.by)}" if self.by else "upsert of one row"


def versions_in(topology: Topology, *, code: bool = False) -> dict[str, Versions]:
    """The streams of the file that hold versions of rows; all others are `append`."""
    found: dict[str, Versions] = {}
    keyed = {name: keyed_of(topology, stage, code=code) for name, stage in topology.stages.items()}
    known = -1
    while known < len(found):  # stages may stand in any order, and a cycle has none: that is said by another check
        known = len(found)
        for name, stage in topology.stages.items():
            if (given := _given(topology, stage, found, keyed[name])) is not None:
                found = dict.fromkeys(stage.outputs, given) | found
    return found


def kind_of_records(found: Mapping[str, Versions], stream: str) -> str:
    """What a stream's records are, as `plan` and the pictures say it."""
    return str(found[stream]) if stream in found else "append"


def version_findings(topology: Topology, *, code: bool = True) -> Iterator[Finding]:
    """Steps that would count or pair versions of a row as if each were a record of its own."""
    found = versions_in(topology, code=code)
    for stage in topology.stages.values():
        adding = [(number, step) for number, step in enumerate(stage.steps) if step.adds_up]
        for number, step in adding[:1]:
            for name in stage.config.from_:
                if (versions := found.get(name)) is not None:
                    message = (
                        f"{step.name!r} takes each record of {name!r} for one of its own, and they are new versions of "
                        f"rows ({versions}), as {versions.stage!r} gives them"
                    )
                    hint = f"let {versions.stage!r} give final results, or read what it reads"
                    yield ("stages", stage.name, "process", number, step.name), "updates", message, hint


def _given(topology: Topology, stage: StageSpec, found: Mapping[str, Versions], keyed: Keyed | None) -> Versions | None:
    """What leaves a stage."""
    if keyed is not None and keyed.upsert_by is not None:
        return Versions(keyed.upsert_by, stage.name)
    if stage.keyed_step is not None:
        return None  # what it makes of versions, or lets pass of them, is a record of its own
    return next((found[name] for name in topology.reads(stage) if name in found), None)
