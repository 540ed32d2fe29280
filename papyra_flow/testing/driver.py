"""A pipeline driven without a server: records go through the real steps, routes, retries and dead letters, at once.

The stages' own programs and deliveries do the work; what they would commit is taken down here. So a test sees what a
run would do, except for what only a server and time can bring: claims, order among consumers, waiting. What does not
live here: tests in YAML (`cases`), fixtures (`plugin`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TypeVar

from papyra_flow.config.load import load_pipeline, path_of
from papyra_flow.connectors.base import Encode
from papyra_flow.errors import PipelineFailedError, UsageError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import CODECS, Entry, Record, decode_json, encode_json, headers_of
from papyra_flow.records.formats import entries_of_records
from papyra_flow.records.json_codec import read_json
from papyra_flow.runtime.commit.delivery import Delivery, delivery_of
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.process.event_loop import apart, new_loop
from papyra_flow.runtime.services.backpressure import Gates
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.stage.stage import StageRuntime, WorkerContext
from papyra_flow.spec.pipeline import HasSpec
from papyra_flow.steps.functions import forks
from papyra_flow.streams.admin.dead_letters import DeadLetter, read_dead_letter
from papyra_flow.streams.admin.display import rows_in
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.model import StageSpec, StreamSpec, Topology

T = TypeVar("T")
NOWHERE = "redis://nowhere.invalid"


@dataclass(slots=True)
class _Place:
    """A stream, as far as the driver keeps one: all entries that were ever in it."""

    spec: StreamSpec
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage's own parts; `encode` is how its sink writes, where it has one."""

    runtime: StageRuntime
    delivery: Delivery
    encode: Encode | None


class Driver:
    """Drives a pipeline: `put` records in, look at what came `out`, what was `written` and what is `dead`. Since 0.1.

    Everything that can happen to a record has happened when `put` returns. A step that fails is tried again at once, as
    often as the stage says. Raises UsageError for names that are not there, and for steps that need a server.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._places = {name: _Place(stream) for name, stream in topology.streams.items()}
        self._letters: dict[str, list[Entry]] = defaultdict(list)
        self._written: dict[str, list[Record]] = defaultdict(list)
        self._stages: dict[str, _Stage] | None = None
        self._done: dict[tuple[str, str], int] = defaultdict(int)
        """How many entries of a stream a stage has had."""
        self._loop = _Loop()
        self._number = 0
        for stage in topology.stages.values():
            for step in stage.steps:
                for used in step.redis_keys(topology.pipeline, stage.name):
                    raise UsageError(f"the step `{step.describe()}` of {stage.name!r} uses the key {used.key!r}: that "
                                     "needs a server")  # fmt: skip

    def put(self, name: str, *records: Mapping[str, object]) -> Driver:
        """Put records into a stream, or into a stage as if its source had read them; returns the driver."""
        self._run(self._put(name, records))
        return self

    def out(self, stream: str) -> list[Record]:
        """All records that came to a stream, in order."""
        if stream not in self._places:
            raise UsageError(f"unknown stream {stream!r}; the streams are {self._names(self._places)}")
        place = self._places[stream]
        return [record for entry in place.entries for record in _records(place.spec, entry)]

    def headers(self, stream: str) -> list[dict[str, str]]:
        """The headers of each entry that came to a stream."""
        entries = self._places[stream].entries
        return [{k.decode(): v.decode() for k, v in headers_of(entry.fields).items()} for entry in entries]

    def written(self, stage: str) -> list[Record]:
        """All records that a stage would have written to its sink, in order."""
        self._stage_spec(stage)
        return list(self._written[stage])

    def dead(self, stage: str) -> list[DeadLetter]:
        """A stage's dead letters, in order."""
        self._stage_spec(stage)
        return [read_dead_letter(entry) for entry in self._letters[stage]]

    def dead_records(self, stage: str) -> list[Record]:
        """The records in a stage's dead letters, as they came to it."""
        found: list[Record] = []
        for letter in self._letters[stage]:
            rows = rows_in(letter.data)
            found += rows if rows is not None else [decode_json(letter.fields)]
        return found

    # -- what a run would do ----------------------------------------------------------------------------------

    async def _put(self, name: str, records: Iterable[Mapping[str, object]]) -> None:
        given = list(records)
        for target in self._targets(name):
            self._add(target, given)
        if self._stages is None:
            self._stages = await self._started()
        for stage in self.topology.in_order():
            for stream in stage.inputs:
                entries = self._places[stream].entries
                while (done := self._done[stage.name, stream]) < len(entries):
                    portion = entries[done : done + stage.settings.batch_size]
                    self._done[stage.name, stream] += len(portion)
                    await self._batch(self._stages[stage.name], portion)

    async def _started(self) -> dict[str, _Stage]:
        """The stages' own parts, on a server that is never connected to."""
        server, topology = Server(NOWHERE), self.topology
        context = WorkerContext(
            topology, server, "driver", Gates(), Keepalive(NOWHERE), Trimmer(server.client, {}),
            Leases(server.client, "driver", topology.keys.probe), Pauses(server.client, topology.keys.paused),
        )  # fmt: skip
        found: dict[str, _Stage] = {}
        for stage in topology.in_order():
            if stage.inputs:
                runtime = StageRuntime(stage, context, StageCounters())
                await runtime.program.start()
                sink = stage.sink.encoder(topology.connector_context(stage.name)) if stage.sink is not None else None
                found[stage.name] = _Stage(runtime, delivery_of(runtime, "driver"), sink and _as_json(sink))
        return found

    async def _batch(self, stage: _Stage, entries: Sequence[Entry]) -> None:
        """Process entries, take down what they became, and try again what is to be tried again."""
        while entries:
            batch = Batch.of(entries)
            prepared = stage.delivery.prepare(batch, await stage.runtime.program.run(batch, stage.encode))
            self._take_down(stage.runtime, prepared)
            if prepared.fate.halted is not None:
                _, exc = prepared.fate.halted
                raise PipelineFailedError(f"the stage {stage.runtime.name!r} halts: {exc}") from exc
            again = [*(entry for entry, _ in prepared.fate.again), *prepared.fate.later]
            entries = [Entry(e.key, e.id, e.fields, e.deliveries + 1) for e in again]

    def _take_down(self, stage: StageRuntime, prepared: Prepared) -> None:
        self._written[stage.name] += [read_json(payload) for _, payload in prepared.outcome.for_sink()]
        for target, fields in prepared.commit.outcomes():
            if target == stage.targets.dead:
                self._letters[stage.name].append(self._entry(stage.spec.dead_key, fields))
            else:
                stream = stage.targets.streams[target]
                self._places[stream.name].entries.append(self._entry(stream.key, fields))

    def _targets(self, name: str) -> list[StreamSpec]:
        """The streams that records for a stream, or for a stage with a source, go to."""
        if name in self.topology.stages:
            stage = self.topology.stages[name]
            names = (
                stage.source_to or tuple(found for found in stage.inputs if not self.topology.streams[found].hidden)[:1]
            )
            return [self.topology.streams[found] for found in names]
        if name in self.topology.streams:
            return [self.topology.streams[name]]
        raise UsageError(f"unknown stream or stage {name!r}; there are {self._names(self._places)} and "
                         f"{self._names(self.topology.stages)}")  # fmt: skip

    def _add(self, stream: StreamSpec, records: Sequence[Mapping[str, object]]) -> None:
        self._places[stream.name].entries += [
            self._entry(stream.key, fields) for fields in entries_of_records(records, stream.config.format)
        ]

    def _entry(self, key: str, fields: Sequence[bytes]) -> Entry:
        self._number += 1
        return Entry(key, b"%d-0" % self._number, fields)

    # -- small things -----------------------------------------------------------------------------------------

    def _stage_spec(self, name: str) -> StageSpec:
        if name not in self.topology.stages:
            raise UsageError(f"unknown stage {name!r}; the stages are {self._names(self.topology.stages)}")
        return self.topology.stages[name]

    def _names(self, known: Mapping[str, object]) -> str:
        return ", ".join(name for name in known if "@" not in name)

    def _run(self, work: Coroutine[object, object, T]) -> T:
        with forks.working():
            return self._loop.run(work)

    def close(self) -> None:
        """Close what the steps opened."""

        async def closed() -> None:
            for stage in (self._stages or {}).values():
                await stage.runtime.program.close()

        self._run(closed())
        self._loop.close()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Loop:
    """An event loop for synchronous callers: here, or in a thread where the caller's own loop runs."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=new_loop)

    def run(self, work: Coroutine[object, object, T]) -> T:
        return apart(lambda: self._runner.run(work))

    def close(self) -> None:
        apart(self._runner.close)


def _as_json(encode: Encode) -> Encode:
    """JSON of what a sink writes, to be read again here; what the sink itself refuses fails as in a run."""

    def encoded(record: Record, raw: bytes | None) -> bytes:
        encode(record, raw)
        return encode_json(record)

    return encoded


def _records(stream: StreamSpec, entry: Entry) -> list[Record]:
    if stream.holds_tables:
        return rows_in(entry.data) or []
    return [CODECS[stream.config.format].decode(entry.fields)]


def drive(source: Path | str | HasSpec, *overrides: str, environment: Mapping[str, str] | None = None) -> Driver:
    """A driver for a pipeline's file, or for a `Pipeline`, with `path=value` over it. Since 0.1.

    `environment` is what a file's variables are taken from, in place of the process' own. Raises InvalidPipelineError
    with all that is wrong with the pipeline, UsageError for what is neither.
    """
    if isinstance(source, str | PathLike | type) or not hasattr(source, "spec"):
        return Driver(build_topology(load_pipeline(path_of(source), overrides=overrides, environment=environment)))
    return Driver(build_topology(source.spec(overrides=overrides)))
