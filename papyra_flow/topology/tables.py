"""Whether records and tables meet only where one can become the other."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from papyra_flow.spec.positions import Path
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import StageSpec, Topology

NEEDED = ("pyarrow", "duckdb")
INSTALL = "pip install 'papyra-flow[arrow]'"


def mixtures(topology: Topology) -> Iterator[Finding]:
    """Every place where tables cannot be handled, or are mixed with records."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    for stream in topology.streams.values():
        if stream.holds_tables and not stream.internal and missing:
            yield ("streams", stream.of, "format"), "arrow-missing", f"tables need {' and '.join(missing)}", INSTALL
    for stage in topology.stages.values():
        if stage.merge is not None and missing:
            yield ("stages", stage.name, "process"), "arrow-missing", f"tables need {' and '.join(missing)}", INSTALL
        yield from _of_stage(topology, stage)


def _of_stage(topology: Topology, stage: StageSpec) -> Iterator[Finding]:
    named = topology.named
    tables = [name for name in stage.config.from_ if named[name].spec.holds_tables]
    records = [name for name in stage.config.from_ if not named[name].spec.holds_tables]
    if tables and records:
        message = f"the stage {stage.name!r} reads tables from {tables[0]!r} and records from {records[0]!r}"
        yield (
            ("stages", stage.name, "from"),
            "mixed-input",
            message,
            "convert the records to tables in an earlier stage",
        )
    if stage.inputs and stage.first_on_tables is None:
        for number, route in enumerate(stage.routes):
            if named[route.stream].spec.holds_tables:
                message = f"{route.stream!r} holds tables, but the stage {stage.name!r} has records"
                path: Path = ("stages", stage.name, "to", number)
                yield path, "records-to-tables", message, "add the step `batch`"
