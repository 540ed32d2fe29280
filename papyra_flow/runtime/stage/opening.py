"""A partition as its owner takes it up: its state, and the program that runs over that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from papyra_flow.runtime.services.idleness import Idleness
from papyra_flow.runtime.services.partition_state import PartitionState
from papyra_flow.runtime.services.state_keeper import StateKeeper
from papyra_flow.runtime.stage.keyed import KeyedProgram
from papyra_flow.runtime.stage.partition_program import PartitionProgram
from papyra_flow.runtime.stage.program import BatchProgram
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.state.progress import Progress
from papyra_flow.state.store import Store
from papyra_flow.streams.commit.ownership import Ownership


def open_state(
    stage: StageRuntime, ownership: Ownership, keeper: StateKeeper, held: Callable[[], Awaitable[bool]], now: float
) -> PartitionState | None:
    """A partition's state; None where its stage keeps none. `held` says whether anything is held before the stage."""
    if stage.spec.keyed_step is None:
        return None
    settings = stage.spec.settings
    names = [stage.stream_of[key] for key in ownership.positions if key not in stage.replay_keys]
    progress = Progress(names, ownership.kept)
    idleness = Idleness(progress, names, settings.idle_after, held, now) if stage.spec.goes_by_time else None
    return PartitionState(keeper, Store(settings.state_cache), progress, idleness)


def program_over(stage: StageRuntime, state: PartitionState | None) -> BatchProgram:
    """What runs a partition's batches."""
    program: BatchProgram = stage.program
    if state is not None and isinstance(program, KeyedProgram):
        return PartitionProgram(program, state)
    return program
