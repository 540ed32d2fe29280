"""What a stage does with a batch, from its entries to what leaves: one way for records and for tables.

A program is made once, from the stage's part of the topology. It knows no server: what becomes of an `Outcome` is the
delivery's business, or the test driver's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from papyra_flow.connectors.base import Encode
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Format
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.event_times import EntryTimes, TimeExpression
from papyra_flow.runtime.stage.failure import FailurePolicy
from papyra_flow.runtime.stage.keyed import Clock, KeyedProgram
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.processing import Processor
from papyra_flow.runtime.stage.records import RecordProgram
from papyra_flow.runtime.stage.router import Router
from papyra_flow.spec.own_figures import OwnFigures
from papyra_flow.steps.base import Merge
from papyra_flow.topology.model import StageSpec, Topology

if TYPE_CHECKING:
    from papyra_flow.runtime.stage.table_router import TableRouter
    from papyra_flow.runtime.stage.table_steps import TableSteps


class BatchProgram(Protocol):
    """What makes of a batch what leaves: a stage's program, or that of one partition with its state."""

    async def run(self, batch: Batch, encode: Encode | None = None) -> Outcome:
        """What becomes of a batch; `encode` is the sink's, where the stage writes to one.

        Raises ServerErrors and ConnectorErrors, of what a step or the sink needs; never a record's own failure.
        """

    def give_up(self, batch: Batch, exc: Exception) -> Outcome:
        """What becomes of a batch that is not to be run again, for this reason."""


class StageProgram(BatchProgram, Protocol):
    """A stage's steps and its way out."""

    async def start(self) -> None:
        """Start the steps that have something to start."""

    async def close(self) -> None:
        """Close what the steps opened."""


def program_of(
    spec: StageSpec, topology: Topology, policy: FailurePolicy, own: OwnFigures | None = None
) -> StageProgram:
    """The program of a stage, whose steps count and measure in `own`.

    Raises ValueError, ConnectorError or UsageError for a step that cannot be built.
    """
    if spec.keyed_step is not None:
        return keyed_program(spec, topology, spec.keyed_step, own)
    if spec.first_on_tables is None:
        return _of_records(spec, topology, own)
    if spec.merge is not None:
        return _of_records_and_tables(spec, topology, policy, spec.merge, own)
    from papyra_flow.runtime.stage.tables import TableProgram

    return TableProgram(*_over_tables(spec, topology, own), policy, spec.settings.max_record)


def keyed_program(spec: StageSpec, topology: Topology, number: int, own: OwnFigures | None = None) -> KeyedProgram:
    """The program of a stage whose step of that number keeps state; raises as `program_of`."""
    context, inputs, most = topology.step_context(spec.name, own), topology.inputs(spec), spec.settings.max_record
    source: Format = "fields" if any(stream.config.format == "fields" for stream in inputs) else "json"
    keyed = spec.steps[number].build_keyed(context)
    if keyed is None:
        raise ValueError(f"{spec.steps[number].name} keeps no state")
    decoder = Decoder(inputs, most)
    before = Processor([step.build(context) for step in spec.steps[:number]], decoder)
    behind = [step.build(context) for step in spec.steps[number + 1 :]]
    router = Router(spec.routes, spec.config.match, topology.outputs(spec), source, most)
    step = spec.steps[number]
    clock = Clock(
        TimeExpression(step.own_time) if step.own_time is not None else entry_times(spec, topology),
        goes=step.goes_by_time,
        hands_on=topology.hands_on_time(spec),
        disorder=topology.disorder,
    )
    return KeyedProgram(before, keyed, behind, router, decoder, clock, names_of(spec, topology))


def entry_times(spec: StageSpec, topology: Topology) -> EntryTimes:
    """The event times of the entries that a stage reads."""
    return EntryTimes(topology.times.get(spec.name, {}), names_of(spec, topology))


def names_of(spec: StageSpec, topology: Topology) -> dict[str, str]:
    """The names in the file of the streams that a stage reads, by their keys."""
    return {stream.key: stream.of for stream in topology.inputs(spec) if not stream.replay}


def _of_records(spec: StageSpec, topology: Topology, own: OwnFigures | None) -> StageProgram:
    context, inputs, most = topology.step_context(spec.name, own), topology.inputs(spec), spec.settings.max_record
    source: Format = "fields" if any(stream.config.format == "fields" for stream in inputs) else "json"
    router = Router(spec.routes, spec.config.match, topology.outputs(spec), source, most)
    steps = [step.build(context) for step in spec.steps]
    times = entry_times(spec, topology) if spec.name in topology.times and topology.hands_on_time(spec) else None
    needs_value = bool(steps) or spec.sink is not None or router.needs_value or times is not None
    decoder = Decoder(inputs, most) if needs_value else None
    return RecordProgram(Processor(steps, decoder, sink=spec.sink is not None), router, times)


def _of_records_and_tables(
    spec: StageSpec, topology: Topology, policy: FailurePolicy, merge: Merge, own: OwnFigures | None
) -> StageProgram:
    """Steps over records up to the first one over tables: there, those of a batch become one table."""
    from papyra_flow.records.columns import TYPES
    from papyra_flow.runtime.stage.merging import MergingProgram

    context, decoder = (
        topology.step_context(spec.name, own),
        Decoder(topology.inputs(spec), spec.settings.max_record),
    )
    records = Processor([step.build(context) for step in spec.steps[: spec.first_on_tables]], decoder)
    types = {name: TYPES[word] for name, word in merge.types.items()}
    return MergingProgram(records, types, *_over_tables(spec, topology, own), policy)


def _over_tables(spec: StageSpec, topology: Topology, own: OwnFigures | None) -> tuple[TableSteps, TableRouter]:
    from papyra_flow.runtime.stage.table_router import TableRouter
    from papyra_flow.runtime.stage.table_steps import TableSteps

    context, first = topology.step_context(spec.name, own), spec.first_on_tables or 0
    built = [spec.build_step(number, context) for number in range(first, len(spec.steps))]
    router = TableRouter(spec.routes, spec.config.match, topology.outputs(spec), spec.settings.max_record)
    return TableSteps([step for step in built if step is not None]), router
