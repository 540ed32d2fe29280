"""What the consumers of one stage share in one process: its steps, routes, policy, counters and surroundings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from papyra_flow.observe.counters import StageCounters
from papyra_flow.observe.telemetry import Telemetry
from papyra_flow.runtime.services.backpressure import Gates
from papyra_flow.runtime.services.belongings import Belongings
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.timing import ServerClock, StageTiming
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.stage.failure import FailurePolicy
from papyra_flow.runtime.stage.keyed import KeyedProgram
from papyra_flow.runtime.stage.program import program_of
from papyra_flow.runtime.stage.targets import Targets
from papyra_flow.spec.own_figures import Distribution, OwnFigures
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology


@dataclass(slots=True)
class WorkerContext:
    """What all stages of a process share."""

    topology: Topology
    server: Server
    process: str
    gates: Gates
    keepalive: Keepalive
    trimmer: Trimmer
    leases: Leases
    pauses: Pauses
    activity: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever something came to rest: draining looks again then."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    telemetry: Telemetry | None = None
    clock: ServerClock = field(default_factory=ServerClock)
    quarantining: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the consumer that is processing suspects (`suspects.Turn`)."""

    belongings: Belongings | None = None
    """What steps may have changed that is the process' own; None in a process that is not the pipeline's own."""

    async def rest(self, seconds: float) -> None:
        """Wait, or until the process is to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


class StageRuntime:
    """One stage in one process."""

    def __init__(self, spec: StageSpec, context: WorkerContext, counters: StageCounters) -> None:
        topology = context.topology
        self.spec = spec
        self.context = context
        self.counters = counters
        self.policy = FailurePolicy(spec.settings)
        self.retry_policy = RetryPolicy(spec.name)
        self.inputs = topology.inputs(spec)
        self.outputs = spec.outputs
        self.targets = Targets.of(spec, topology)
        self.implicit = frozenset(stream.key for stream in self.inputs if stream.implicit)
        self.replay_keys = frozenset(topology.streams[name].key for name in spec.replays)
        self.stream_of = {stream.key: stream.of for stream in self.inputs}
        self.program = program_of(spec, topology, self.policy, self._own_figures())
        self.timing = self._timing()

    def _timing(self) -> StageTiming:
        stages, outputs = self.context.topology.stages, self.targets.streams
        writers = [stages[writer] for stream in self.inputs for writer in stream.writers if writer != self.name]
        return StageTiming(
            self.counters.timings,
            self.context.clock,
            first=not any(writer.inputs for writer in writers),
            last=self.spec.sink is not None or not any(target.readers for target in outputs),
            marks=self.targets.with_headers,
            record=self._record if self.context.telemetry is not None else None,
        )

    def _own_figures(self) -> OwnFigures:
        counters, record = self.counters, self._record_own if self.context.telemetry is not None else None
        return OwnFigures(counters.own, counters.own_durations, counters.own_values, record)

    def _record_own(self, kind: Distribution, name: str, value: float) -> None:
        if self.context.telemetry is not None:
            self.context.telemetry.record(f"own_{kind}", value, self.name, name)

    def _record(self, name: str, value: float) -> None:
        if self.context.telemetry is not None:
            self.context.telemetry.record(name, value, self.name)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.spec.name

    @property
    def shape(self) -> str:
        """What the meaning of its state depends on; '' where it keeps none."""
        return self.program.keyed.shape if isinstance(self.program, KeyedProgram) else ""
