"""What a stage that has tables is made of, in place of what a stage of records is made of.

Only imported for such a stage, because it needs pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra_flow.records.columns import TYPES
from papyra_flow.runtime.commit.table_delivery import MergedDelivery, TableDelivery
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.merging import MergingProcessor
from papyra_flow.runtime.stage.processing import BatchProcessor, Processor
from papyra_flow.runtime.stage.table_router import TableRouter
from papyra_flow.runtime.stage.tables import TableProcessor, TableSteps
from papyra_flow.steps.base import OfTable
from papyra_flow.steps.batch import ToTables

if TYPE_CHECKING:
    from papyra_flow.runtime.commit.delivery import Delivery
    from papyra_flow.runtime.stage.stage import StageRuntime


def processor_of(stage: StageRuntime) -> BatchProcessor:
    """The stage's steps, those over records first if there are any."""
    spec, context = stage.spec, stage.context.topology.step_context(stage.spec.name)
    border = spec.tables_from or 0
    built = [step for number in range(len(spec.steps)) if (step := spec.build_step(number, context)) is not None]
    on_records = [step for step in built[: max(0, border - 1)] if not isinstance(step, OfTable)]
    steps = TableSteps(built[len(on_records) :])
    router = TableRouter(spec.routes, spec.config.match, stage.targets, spec.settings.max_record)
    if not spec.merges:
        return TableProcessor(steps, router, stage.policy, stage.counters, spec.settings.max_record)
    merge = spec.steps[border - 1]
    types = {name: TYPES[word] for name, word in merge.types.items()} if isinstance(merge, ToTables) else {}
    records = Processor(on_records, Decoder(stage.inputs, spec.settings.max_record))
    return MergingProcessor(records, types, steps, router, stage.policy)


def delivery_of(stage: StageRuntime, consumer: str) -> Delivery:
    """How the stage forwards what it made."""
    return MergedDelivery(stage, consumer) if stage.spec.merges else TableDelivery(stage, consumer)
