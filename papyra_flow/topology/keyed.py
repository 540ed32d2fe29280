"""What keyed stages need: one step with state, one owner for each partition, and each key in one partition.

What a step keeps is asked of the step itself. One that calls the author's code is not asked unless that code may be
imported: an operator's machine may not have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from papyra_flow.errors import ConnectorError, UsageError
from papyra_flow.expressions.compiled import in_one_spelling
from papyra_flow.spec.positions import Path
from papyra_flow.steps.keyed import Keyed
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import NamedStream


def keyed_of(topology: Topology, stage: StageSpec, *, code: bool = False) -> Keyed | None:
    """The step of a stage that keeps state, built; None where none does, or where it cannot be known (without `code`).

    What is wrong with a step is said by the check that builds all of them.
    """
    if stage.keyed_step is None:
        return None
    step = stage.steps[stage.keyed_step]
    if step.calls_code and not code:
        return None
    try:
        return step.build_keyed(topology.step_context(stage.name))
    except (ValueError, ConnectorError, UsageError, ImportError):
        return None


def key_of(keyed: Keyed, stream: str) -> tuple[str, ...]:
    """The expressions of a step's key for the records of a stream."""
    return tuple(keyed.partition_by_stream.get(stream, keyed.partition_by))


def places_in_key(by: Sequence[str], key: Sequence[str]) -> tuple[int, ...] | None:
    """Where each expression that decides on a partition stands in a key; None if one is not part of it.

    Records with the same key are then in one partition.
    """
    spelled = [in_one_spelling(text) for text in key]
    found = [spelled.index(text) if text in spelled else None for text in map(in_one_spelling, by)]
    return None if None in found else tuple(place for place in found if place is not None)


def keyed_findings(topology: Topology, *, code: bool = True) -> Iterator[Finding]:
    """All that is wrong with keyed stages, and with sinks of stages that have owners."""
    for stage in topology.stages.values():
        yield from _writers(topology, stage)
        if stage.keyed_step is not None:
            yield from _one_step(stage, stage.keyed_step)
            yield from _owned(topology, stage, stage.keyed_step)
            if (keyed := keyed_of(topology, stage, code=code)) is not None:
                yield from _partitioned(topology, stage, keyed)


def _one_step(stage: StageSpec, first: int) -> Iterator[Finding]:
    for number, step in enumerate(stage.steps[first + 1 :], start=first + 1):
        if step.keeps_state:
            message = (
                f"the stage {stage.name!r} has two steps that keep state, {stage.steps[first].name!r} and {step.name!r}"
            )
            path: Path = ("stages", stage.name, "process", number, step.name)
            yield path, "keyed", message, f"use another stage for {step.name!r}: a stage has one such step"


def _owned(topology: Topology, stage: StageSpec, number: int) -> Iterator[Finding]:
    name = stage.steps[number].name
    if not stage.owned:
        message = f"{name!r} keeps state, which needs one owner for each partition: `ordered: false` shares them"
        yield ("stages", stage.name, "ordered"), "keyed", message, "leave `ordered` out"
    if stage.sink is not None and stage.late_stream is not None:
        message = f"{stage.name!r} writes to a sink, and its late records cannot go to the stream {stage.late_stream!r}"
        yield _step(stage, number), "keyed", message, "write to a stream, and from there in a stage of its own"
    tables = [stream.of for stream in topology.inputs(stage) if stream.holds_tables and not stream.internal]
    if tables:
        message = f"{name!r} keeps state record by record, and {tables[0]!r} holds tables"
        yield ("stages", stage.name, "from"), "keyed", message, "read a stream with `format: json`"
    elif stage.merge is not None:
        message = f"{name!r} keeps state record by record, and another step of {stage.name!r} makes tables of them"
        yield ("stages", stage.name, "process"), "keyed", message, "use another stage for that step"


def _step(stage: StageSpec, number: int) -> Path:
    return ("stages", stage.name, "process", number, stage.steps[number].name)


def _partitioned(topology: Topology, stage: StageSpec, keyed: Keyed) -> Iterator[Finding]:
    """Inputs whose partitions do not keep a key together, or not in the partition of the same number."""
    name = stage.steps[stage.keyed_step or 0].name
    named = topology.named
    before: tuple[NamedStream, tuple[int, ...]] | None = None
    for stream in (named[one] for one in stage.config.from_):
        if stream.partitions is None:
            continue
        path: Path = ("stages", stage.name, "from", stage.config.from_.index(stream.name))
        key, by = key_of(keyed, stream.name), stream.spec.config.by
        places = places_in_key(by, key)
        if not key:
            message = f"{name!r} takes all records together, and {stream.name!r} has {stream.partitions} partitions"
            yield path, "partitions", message, "say what it groups `by`, or give the stream `partitions: 1`"
        elif places is None:
            message = (
                f"{name!r} has the key {_listed(key)}, and the partitions of {stream.name!r} are by {_listed(by)}: "
                "records with one key may be in several"
            )
            yield path, "partitions", message, f"write `by: {_written(key)}` for the stream {stream.name!r}"
        elif before is not None and before[1] != places:
            other, order = before
            message = (
                f"{name!r} needs records with one key in partitions of the same number, and {stream.name!r} is by "
                f"{_listed(by)}, but {other.name!r} by {_listed(other.spec.config.by)}"
            )
            hint = f"write `by: {_written([key[place] for place in order])}` for the stream {stream.name!r}"
            yield path, "partitions", message, hint
        else:
            before = stream, places


def _writers(topology: Topology, stage: StageSpec) -> Iterator[Finding]:
    total = len(stage.partitions)
    if stage.sink is None or not stage.exclusive or not stage.owned or total == 1:
        return
    what = topology.public(stage.sink.describe())
    message = f"{what} has one writer, and the {total} partitions of {stage.name!r} may each have another owner"
    hint = "write to a stream, and from there in a stage of its own"
    if stage.keyed_step is None:
        hint = f"say `ordered: false` for {stage.name!r}, or {hint}"
    yield ("stages", stage.name, "write"), "exclusive-sink", message, hint


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(map(repr, texts))


def _written(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
