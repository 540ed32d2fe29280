"""Whether stages and streams fit together: everything that is wrong with a topology, each with its place.

No server is needed: what only a server can tell (keys that exist) is handed in.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

import networkx as nx

from papyra_flow.errors import ConnectorError, Problem, UsageError
from papyra_flow.expressions.compiled import compile_expression
from papyra_flow.expressions.fields import refuse_text_as_condition
from papyra_flow.spec.components import Component
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.spec.positions import Path
from papyra_flow.streams.connection.addresses import pool_of
from papyra_flow.streams.embedded.server import EMBEDDED
from papyra_flow.topology.cases import misnamed
from papyra_flow.topology.contracts import mismatches
from papyra_flow.topology.files import file_findings
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.keyed import keyed_findings
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.partitions import partition_findings
from papyra_flow.topology.sides import unread
from papyra_flow.topology.tables import mixtures
from papyra_flow.topology.versions import version_findings


def check(topology: Topology, spec: PipelineSpec, existing: frozenset[str], *, code: bool = True) -> list[Problem]:
    """All problems of a topology, in the order of the file; without `code` those that need no step to be built."""
    checks: list[Callable[[Topology], Iterator[Finding]]] = [
        lambda _: _address(spec),
        _other_addresses,
        _cycles,
        lambda topology: _unfed(topology, existing),
        _shared_groups,
        _shared_keys,
        _other_slots,
        partition_findings,
        _unused_streams,
        _routes,
        _sinks,
        mixtures,
        lambda topology: iter(topology.time_findings),
        lambda topology: keyed_findings(topology, code=code),
        lambda topology: version_findings(topology, code=code),
        unread,
        lambda topology: misnamed(topology, spec.config),
        *((_steps, mismatches) if code else ()),
    ]
    found = [spec.positions.problem(*finding) for examine in checks for finding in examine(topology)]
    found = [replace(one, excerpt=None) if one.code == "address" else one for one in found]  # it may hold a password
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.order, problem.code))


def _address(spec: PipelineSpec) -> Iterator[Finding]:
    """Raises UsageError if it was given on the command line, where no line of the file is to blame."""
    if spec.config.redis == EMBEDDED:
        return
    try:
        pool_of(spec.config.redis, "")
    except UsageError as exc:
        if spec.other_server:
            raise
        yield ("redis",), "address", str(exc), None


def _other_addresses(topology: Topology) -> Iterator[Finding]:
    """Of servers that sources, steps and sinks use beside the pipeline's own."""
    for stage in topology.stages.values():
        ends: list[tuple[Path, Component | None]] = [(("read",), stage.source), (("write",), stage.sink)]
        steps = [(("process", number), step) for number, step in enumerate(stage.steps)]
        for place, component in (*ends, *steps):
            if component is None:
                continue
            for used in component.redis_keys(topology.pipeline, stage.name):
                if used.server is not None and (wrong := _wrong_address(used.server)) is not None:
                    yield ("stages", stage.name, *place, component.name, "redis"), "address", wrong, None


def _wrong_address(url: str) -> str | None:
    try:
        pool_of(url, "")
    except UsageError as exc:
        return str(exc)
    return None


def _cycles(topology: Topology) -> Iterator[Finding]:
    graph = topology.graph()
    for component in nx.strongly_connected_components(graph):
        if len(component) == 1:
            continue
        cycle = [edge[0] for edge in nx.find_cycle(graph.subgraph(component))]
        start = min(range(len(cycle)), key=lambda i: (cycle[i][0] != "stage", cycle[i][1]))
        ordered = cycle[start:] + cycle[: start + 1]
        names = " -> ".join(name for _, name in ordered)
        yield (
            ("stages", ordered[0][1]),
            "cycle",
            f"the stages form a cycle: {names}",
            "a pipeline flows one way",
        )


def _unfed(topology: Topology, existing: frozenset[str]) -> Iterator[Finding]:
    named = topology.named
    written = [stream.name for stream in named.values() if stream.spec.writers]
    for stage in topology.stages.values():
        for index, name in enumerate(stage.config.from_):
            stream = named[name]
            if stream.spec.writers or stream.spec.declared or existing.issuperset(stream.keys):
                continue
            near = difflib.get_close_matches(name, written, 1)
            hint = f"did you mean {near[0]}?" if near else f"if others fill it, declare it: streams: {{{name}: {{}}}}"
            path: Path = ("stages", stage.name, "from", index)
            yield (
                path,
                "unwritten-stream",
                f"no stage writes the stream {name!r} that {stage.name!r} reads",
                hint,
            )


def _shared_groups(topology: Topology) -> Iterator[Finding]:
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for stage in topology.stages.values():
        for name in stage.inputs:
            users[name, stage.group].append(stage.name)
    for (name, group), stages in users.items():
        stream = topology.streams[name].of
        for other in stages[1:]:
            message = f"the stages {stages[0]!r} and {other!r} share the group {group!r} on the stream {stream!r}"
            yield (
                ("stages", other),
                "shared-group",
                message,
                "each would get only part of the records: give one its own `group`",
            )


def _shared_keys(topology: Topology) -> Iterator[Finding]:
    names: dict[str, str] = {}
    for stream in topology.streams.values():
        if stream.key in names:
            message = f"the streams {names[stream.key]!r} and {stream.name!r} have the same key {stream.key!r}"
            yield ("streams", stream.of, "key"), "shared-key", message, None
        names.setdefault(stream.key, stream.name)


def _other_slots(topology: Topology) -> Iterator[Finding]:
    for stream in topology.streams.values():
        if stream.number is None and not topology.has_within_reach(stream.key):
            message = f"the key {stream.key!r} is in another cluster slot than the pipeline: a commit cannot span both"
            hint = f"`read: {{stream: {stream.key!r}}}` and `write: {{stream: ...}}` cross slots, exactly once"
            yield ("streams", stream.name, "key"), "other-slot", message, hint


def _unused_streams(topology: Topology) -> Iterator[Finding]:
    used = [stream.name for stream in topology.named.values() if stream.spec.readers or stream.spec.writers]
    for stream in topology.named.values():
        if not (stream.spec.readers or stream.spec.writers):
            near = difflib.get_close_matches(stream.name, used, 1)
            hint = f"did you mean {near[0]}?" if near else None
            yield (
                ("streams", stream.name),
                "unused-stream",
                f"no stage reads or writes the stream {stream.name!r}",
                hint,
            )


def _routes(topology: Topology) -> Iterator[Finding]:
    for stage in topology.stages.values():
        always: str | None = None
        for index, route in enumerate(stage.config.to):
            path: Path = ("stages", stage.name, "to", index)
            if route.when is not None:
                try:
                    compile_expression(route.when)
                    refuse_text_as_condition(route.when)
                except ValueError as exc:
                    yield (*path, "when"), "expression", str(exc), None
            if always is not None and stage.config.match == "first":
                message = f"nothing ever reaches {route.stream!r}: {always!r} before it takes every record"
                yield path, "unreachable-route", message, "use `match: all` to copy to each"
            if route.when is None:
                always = always or route.stream


def _sinks(topology: Topology) -> Iterator[Finding]:
    for stage in topology.stages.values():
        if stage.sink is None:
            continue
        if stage.exclusive and stage.settings.consumers > 1:
            message = f"{stage.sink.describe()} has one writer, but the stage has {stage.settings.consumers} consumers"
            yield (
                ("stages", stage.name, "consumers"),
                "exclusive-sink",
                message,
                "set `consumers: 1`",
            )
    yield from file_findings(topology)


def _steps(topology: Topology) -> Iterator[Finding]:
    context = topology.step_context()
    for stage in topology.stages.values():
        for index, step in enumerate(stage.steps):
            try:
                if step.build_keyed(context) is None:
                    stage.build_step(index, context)
            except ModuleNotFoundError:
                continue  # said by `mixtures`: what tables need is not installed
            except (ValueError, ConnectorError, UsageError) as exc:
                yield _step_path(stage, index, step.name), "step", str(exc), None


def _step_path(stage: StageSpec, index: int, name: str) -> Path:
    return ("stages", stage.name, "process", index, name)
