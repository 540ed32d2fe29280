"""From a validated pipeline to its topology: keys, groups, and who writes and reads which stream.

A stage that reads a source and also processes gets an implicit stream in between, so that retries, claims and
dead letters work there as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.connectors.base import SinkConfig, SourceConfig
from papyra_flow.errors import InvalidPipelineError
from papyra_flow.spec.models import PipelineConfig, StageConfig
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.spec.streams import StreamConfig
from papyra_flow.steps.base import Merge, StepConfig
from papyra_flow.streams.keys import Keyspace
from papyra_flow.topology.checks import check
from papyra_flow.topology.event_time import event_time_plan
from papyra_flow.topology.model import RouteSpec, StageSpec, Topology
from papyra_flow.topology.streams import StreamSpec


def build_topology(spec: PipelineSpec, *, existing: frozenset[str] = frozenset(), code: bool = True) -> Topology:
    """The topology of a pipeline, checked.

    `existing` are keys that the server has, for streams that others fill. Without `code` the steps are not built, so
    that no step function is imported and no lookup is read: who only looks at a pipeline need not have them. Raises
    InvalidPipelineError with all problems.
    """
    topology = assemble(spec)
    if problems := check(topology, spec, existing, code=code):
        raise InvalidPipelineError(problems)
    return topology


def unwritten(topology: Topology) -> list[str]:
    """Keys of streams that no stage of the file writes or declares: they have to be on the server."""
    return [stream.key for stream in topology.streams.values() if not stream.writers and not stream.declared]


def assemble(spec: PipelineSpec) -> Topology:
    """The topology as the pipeline says it, right or wrong."""
    config = spec.config
    topology = Topology(
        pipeline=config.pipeline,
        description=config.description,
        redis=config.redis,
        folder=spec.folder,
        keys=Keyspace(config.pipeline),
        stages={},
        streams={},
        secrets=spec.secrets,
    )
    for name in config.streams:
        _parts(topology, config, name)
    for name, stage in config.stages.items():
        _add_stage(topology, config, name, stage)
    found = event_time_plan(topology)
    topology.times, topology.carried, topology.disorder = found.times, frozenset(found.carried), found.disorder
    topology.time_findings = tuple(found.findings)
    return topology


def _add_stage(topology: Topology, config: PipelineConfig, name: str, stage: StageConfig) -> None:
    source = stage.read if isinstance(stage.read, SourceConfig) else None
    sink = stage.write if isinstance(stage.write, SinkConfig) else None
    routes = tuple(RouteSpec(route.stream, route.when) for route in stage.to)
    key = sink.stream_key() if sink is not None else None
    if key is not None and topology.has_within_reach(key):
        # On the pipeline's own server the stream can be part of the commit, which beats any relay.
        target = f"key:{key}"
        topology.streams.setdefault(target, StreamSpec(target, key, StreamConfig(key=key), declared=True))
        routes, sink = (RouteSpec(target),), None
    inputs = tuple(part.name for stream in stage.from_ for part in _parts(topology, config, stream))
    source_to: tuple[str, ...] = ()
    if source is not None:
        direct = not stage.process and sink is None and all(route.when is None for route in routes)
        if direct and (len(routes) == 1 or stage.match == "all"):
            source_to = tuple(route.stream for route in routes)
        else:
            implicit = f"{name}@in"
            topology.streams[implicit] = StreamSpec(
                implicit, topology.keys.stream(implicit), StreamConfig(), declared=True, implicit=True
            )
            inputs = source_to = (implicit,)
    steps = tuple(step for step in stage.process if isinstance(step, StepConfig))
    keyed = next((number for number, step in enumerate(steps) if step.keeps_state), None)
    total = len(_by_number(topology, inputs))
    owned = bool(inputs) and (keyed is not None or total > 1 if stage.ordered is None else stage.ordered)
    replays = _replays(topology, name, inputs, total if owned else 1)
    inputs += replays
    reads_tables = any(topology.streams[stream].holds_tables for stream in inputs)
    border, merge = (0, None) if reads_tables else _border(steps)
    spec = StageSpec(
        name=name,
        config=stage,
        settings=config.settings(name),
        group=stage.group or _group(topology, config, name, stage),
        source=source,
        source_to=source_to,
        inputs=inputs,
        partitions=_by_number(topology, inputs),
        steps=steps,
        reads_tables=reads_tables,
        first_on_tables=border,
        merge=merge,
        keyed_step=keyed,
        owned=owned,
        routes=routes if inputs else (),
        sink=sink,
        replays=replays,
        dead_key=topology.keys.dead(name),
        source_lease=topology.keys.source(name),
        sink_lease=topology.keys.sink(name),
    )
    topology.stages[name] = spec
    for stream in inputs:
        topology.streams[stream].readers.append(name)
    for stream in dict.fromkeys((*source_to, *(route.stream for route in routes), *spec.outputs)):
        for part in _parts(topology, config, stream):
            part.writers.append(name)


def _replays(topology: Topology, stage: str, inputs: Sequence[str], partitions: int) -> tuple[str, ...]:
    """The streams that a stage's dead letters are put back to; each partition that has an owner has its own.

    Not the stage's own input, where other groups would get them again.
    """
    if not inputs:
        return ()
    name, config = f"{stage}@replay", StreamConfig(format=topology.streams[inputs[0]].config.format)
    if partitions == 1:
        made = [StreamSpec(name, topology.keys.stream(name), config, declared=True, replay=True)]
    else:
        made = [
            StreamSpec(
                f"{name}/{number}", topology.keys.partition(number).stream(name), config,
                declared=True, replay=True, number=number,
            )
            for number in range(partitions)
        ]  # fmt: skip
    topology.streams.update((stream.name, stream) for stream in made)
    return tuple(stream.name for stream in made)


def _group(topology: Topology, config: PipelineConfig, name: str, stage: StageConfig) -> str:
    """The name of the stage's group, where the file says none; on streams with a `key` there may be other pipelines."""
    shared = any(config.stream(stream).key is not None for stream in stage.from_)
    return f"{topology.pipeline}.{name}" if shared else name


def _border(steps: Sequence[StepConfig]) -> tuple[int | None, Merge | None]:
    """The number of the step before which records become tables, and how they do; twice None if they stay records."""
    return next(((number, merge) for number, step in enumerate(steps) if (merge := step.merge())), (None, None))


def _parts(topology: Topology, config: PipelineConfig, name: str) -> list[StreamSpec]:
    """The streams in Redis of one that the file names: its partitions, or itself."""
    settings, declared, keys = config.stream(name), name in config.streams, topology.keys
    if name in topology.streams or settings.total == 1:
        key = settings.key or keys.stream(name)
        return [topology.streams.setdefault(name, StreamSpec(name, key, settings, declared))]
    found = []
    for number in range(settings.total):
        part = f"{name}/{number}"
        made = StreamSpec(part, keys.partition(number).stream(name), settings, declared, number=number)
        found.append(topology.streams.setdefault(part, made))
    return found


def _by_number(topology: Topology, inputs: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Streams in Redis by the number of the partition that they are."""
    found: dict[int, list[str]] = {}
    for name in inputs:
        found.setdefault(topology.streams[name].number or 0, []).append(name)
    return tuple(tuple(found[number]) for number in sorted(found))
