"""A pipeline driven without a server: records go through the real steps, routes, retries and dead letters, at once.

The stages' own programs and deliveries do the work (`driven`), in streams that are lists (`places`). So a test sees
what a run would do, except for what only a server can bring: claims, order among consumers, waiting. Time stands still
until a test moves it. What does not live here: tests in YAML (`cases`), fixtures (`plugin`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TypeVar

from papyra_flow.config.load import load_pipeline, path_of
from papyra_flow.errors import UsageError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.records.entries import Entry, Record, decode_json, headers_of
from papyra_flow.runtime.process.event_loop import apart, new_loop
from papyra_flow.runtime.services.backpressure import Gates
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.stage.stage import StageRuntime, WorkerContext
from papyra_flow.spec.pipeline import HasSpec
from papyra_flow.spec.units import parse_duration
from papyra_flow.steps.functions import forks
from papyra_flow.streams.admin.dead_letters import DeadLetter, read_dead_letter
from papyra_flow.streams.admin.display import rows_in
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.server import Server
from papyra_flow.testing.driven import DrivenStage
from papyra_flow.testing.places import Places, stage_of
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.model import Topology

T = TypeVar("T")
NOWHERE = "redis://nowhere.invalid"


class Driver:
    """Drives a pipeline: `put` records in, look at what came `out`, what was `written` and what is `dead`. Since 0.1.

    Everything that can happen to a record has happened when `put` returns. A step that fails is tried again at once, as
    often as the stage says. Time stands still until `advance` moves it, and what waits for more to come, such as an
    open window, waits for `end`. Raises UsageError for names that are not there, and for steps that need a server.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = replace(topology, read_state=self._read_state)
        self._places = Places(topology)
        self._stages: dict[str, DrivenStage] | None = None
        """Those that read streams, each after those that feed it."""
        self._loop = _Loop()
        kept = {topology.keys.state(name) for name in topology.stages}
        for stage in topology.stages.values():
            for step in stage.steps:
                for used in step.redis_keys(topology.pipeline, stage.name):
                    if used.server is None and used.key in kept:
                        continue
                    raise UsageError(f"the step `{step.describe()}` of {stage.name!r} uses the key {used.key!r}: that "
                                     "needs a server")  # fmt: skip

    def put(self, name: str, *records: Mapping[str, object]) -> Driver:
        """Put records into a stream, or into a stage as if its source had read them; returns the driver."""
        self._places.put(name, records)
        self._run(self._settle())
        return self

    def advance(self, duration: str | float) -> Driver:
        """Let time go on by a duration, such as `1m` or seconds, in which nothing comes; returns the driver. Since 0.2.

        As in a run, event time goes on where a stage's inputs are idle, which they are after its `idle_after`.
        """
        try:
            seconds = parse_duration(duration) if isinstance(duration, str) else duration
        except ValueError as exc:
            raise UsageError(f"advance: {exc}") from exc
        self._run(self._wait(round(seconds * 1000)))
        return self

    def end(self) -> Driver:
        """Let the input end, so that all that is open closes, as at the end of a bounded run. Since 0.2."""
        self._run(self._settle(ending=True))
        return self

    def out(self, stream: str) -> list[Record]:
        """All records that came to a stream, in order."""
        return self._places.records(stream)

    def headers(self, stream: str) -> list[dict[str, str]]:
        """The headers of each entry that came to a stream."""
        entries = self._places.entries(stream)
        return [{k.decode(): v.decode() for k, v in headers_of(entry.fields).items()} for entry in entries]

    def written(self, stage: str) -> list[Record]:
        """All records that a stage would have written to its sink, in order."""
        driven = self._driven(stage)
        return list(driven.written) if driven is not None else []

    def dead(self, stage: str) -> list[DeadLetter]:
        """A stage's dead letters, in order."""
        return [read_dead_letter(entry) for entry in self._letters(stage)]

    def dead_records(self, stage: str) -> list[Record]:
        """The records in a stage's dead letters, as they came to it."""
        found: list[Record] = []
        for letter in self._letters(stage):
            rows = rows_in(letter.data)
            found += rows if rows is not None else [decode_json(letter.fields)]
        return found

    # -- what a run would do ----------------------------------------------------------------------------------

    async def _settle(self, *, ending: bool = False) -> None:
        """Take everything as far as it goes, stage by stage in the records' direction."""
        if self._stages is None:
            self._stages = await self._started()
        for stage in self._stages.values():
            await stage.work(ending=ending)

    async def _wait(self, milliseconds: int) -> None:
        """Let time pass, with a stop at each moment at which something happens by itself."""
        await self._settle()
        places, end = self._places, self._places.now + milliseconds
        while places.now < end:
            lanes = [lane for stage in (self._stages or {}).values() for lane in stage.lanes]
            due = min((lane.goes_on_at for lane in lanes), default=math.inf)
            places.now = end if due * 1000 >= end else max(places.now + 1, math.ceil(due * 1000))
            await self._settle()

    async def _started(self) -> dict[str, DrivenStage]:
        """The stages' own parts, on a server that is never connected to."""
        server, topology = Server(NOWHERE), self.topology
        context = WorkerContext(
            topology, server, "driver", Gates(), Keepalive(NOWHERE), Trimmer(server.client, {}),
            Leases(server.client, "driver", topology.keys.probe), Pauses(server.client, topology.keys.paused),
        )  # fmt: skip
        found: dict[str, DrivenStage] = {}
        for stage in topology.in_order():
            if stage.inputs:
                runtime = StageRuntime(stage, context, StageCounters())
                await runtime.program.start()
                found[stage.name] = DrivenStage(runtime, self._places)
        return found

    async def _read_state(self, key: str, fields: Sequence[str | bytes]) -> Sequence[bytes | None]:
        """What a stage keeps in a hash, as a lookup in its table asks for it."""
        for stage in (self._stages or {}).values():
            if key in stage.states:
                return await stage.states[key].values([one.encode() if isinstance(one, str) else one for one in fields])
        return [None] * len(fields)

    def _driven(self, stage: str) -> DrivenStage | None:
        """A stage as far as it was driven; raises UsageError for one that is not there."""
        return (self._stages or {}).get(stage_of(self.topology, stage).name)

    def _letters(self, stage: str) -> list[Entry]:
        driven = self._driven(stage)
        return driven.letters if driven is not None else []

    # -- its life ---------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[object, object, T]) -> T:
        with forks.working():
            return self._loop.run(work)

    def close(self) -> None:
        """Close what the steps opened."""

        async def closed() -> None:
            for stage in (self._stages or {}).values():
                await stage.program.close()

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


def drive(source: Path | str | HasSpec, *overrides: str, environment: Mapping[str, str] | None = None) -> Driver:
    """A driver for a pipeline's file, or for a `Pipeline`, with `path=value` over it. Since 0.1.

    `environment` is what a file's variables are taken from, in place of the process' own. Raises InvalidPipelineError
    with all that is wrong with the pipeline, UsageError for what is neither.
    """
    if isinstance(source, str | PathLike | type) or not hasattr(source, "spec"):
        return Driver(build_topology(load_pipeline(path_of(source), overrides=overrides, environment=environment)))
    return Driver(build_topology(source.spec(overrides=overrides)))
