"""Where event times come from: which expression says them for a stream, and which streams have to carry them.

They are declared where records enter, at a source or a stream. A stage with owners hands them on in the order in which
it got them. Behind any other stage, and where several write to one stream, there is no order from which a watermark
could be told: that is refused, with what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from papyra_flow.spec.positions import Path
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import NamedStream


@dataclass(slots=True)
class EventTimePlan:
    """What was found out of a pipeline."""

    times: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """For each stage that needs event times, and each stream that it reads: an expression, or None for what entries
    bring."""
    carried: set[str] = field(default_factory=set)
    """Streams whose records carry their event time as a header."""
    disorder: dict[str, int] = field(default_factory=dict)
    """Milliseconds that a record of such a stream may lie behind one before it; none for streams in order."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong."""


def event_time_plan(topology: Topology) -> EventTimePlan:
    """Find out where event times come from, from the stages that go by them up to where records enter."""
    plan, named = EventTimePlan(), topology.named
    waiting = [(stage, _path(stage), _own(stage)) for stage in topology.stages.values() if stage.goes_by_time]
    seen: set[tuple[str, bool]] = set()
    while waiting:
        stage, path, own = waiting.pop(0)
        if (stage.name, own) in seen:
            continue
        seen.add((stage.name, own))
        for stream in (named[name] for name in topology.reads(stage)):
            writers = [topology.stages[name] for name in stream.spec.writers]
            plan.findings += [(path, "event-time", *told) for told in _out_of_order(stage, stream, writers)]
            upstream = [writer for writer in writers if stream.name in writer.outputs]
            if not own:
                plan.times.setdefault(stage.name, {})[stream.name] = _said(stream, writers)
                if upstream and stream.spec.config.time is None:
                    plan.carried.add(stream.name)
                    if disorder := _disorder_of(topology, named, upstream):
                        plan.disorder[stream.name] = disorder
            hands_on = stream.spec.config.time is None and not own
            waiting += [(writer, path, not hands_on) for writer in upstream if writer.owned]
    plan.findings = list(dict.fromkeys(plan.findings))
    return plan


def _disorder_of(topology: Topology, named: Mapping[str, NamedStream], writers: list[StageSpec]) -> int:
    """How far what stages write may lie behind what they wrote before: by their own steps, and those before them."""
    found = 0
    for writer in writers:
        step = writer.steps[writer.keyed_step] if writer.keyed_step is not None else None
        before = [topology.stages[name] for stream in topology.reads(writer) for name in named[stream].spec.writers]
        own = step.disorder if step is not None else 0
        found = max(found, own + _disorder_of(topology, named, [stage for stage in before if stage.inputs]))
    return found


def _own(stage: StageSpec) -> bool:
    """Whether a stage's own step says the event time."""
    return stage.keyed_step is not None and stage.steps[stage.keyed_step].own_time is not None


def _path(stage: StageSpec) -> Path:
    return ("stages", stage.name, "process", stage.keyed_step or 0)


def _said(stream: NamedStream, writers: list[StageSpec]) -> str | None:
    """What says a stream's event times: the stream itself, or the source that writes it."""
    if stream.spec.config.time is not None:
        return stream.spec.config.time
    sources = [stage.source for stage in writers if stage.source is not None and stream.name in stage.source_to]
    return sources[0].time if sources else None


def _out_of_order(stage: StageSpec, stream: NamedStream, writers: list[StageSpec]) -> Iterator[tuple[str, str]]:
    """Why the order of a stream's records says nothing about their event times, and what to do about it."""
    for writer in writers:
        if stream.name in writer.outputs and not writer.owned:
            yield (
                f"{stage.name!r} goes by event time, and {writer.name!r}, which writes {stream.name!r}, does not keep "
                "the order of its records",
                f"say `ordered: true` for {writer.name!r}",
            )
        elif stream.name in writer.outputs and len(writer.partitions) > 1:
            yield (
                f"{stage.name!r} goes by event time, and the {len(writer.partitions)} partitions of {writer.name!r}, "
                f"which writes {stream.name!r}, need not be equally far",
                f"aggregate in {writer.name!r} itself, or let it read a stream with one partition",
            )
    if len(writers) > 1:
        names = ", ".join(repr(writer.name) for writer in writers)
        yield (
            f"{stage.name!r} goes by event time, and the stages that write {stream.name!r} need not be equally far: "
            f"{names}",
            "let each write a stream of its own, and read all of them: `from: [a, b]`",
        )
