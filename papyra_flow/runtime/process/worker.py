"""One process' share of a pipeline: its sources and consumers, started together, stopped together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from papyra_flow.connectors.base import SourceConfig
from papyra_flow.errors import FencedError, PapyraFlowError, ServerError, UsageError
from papyra_flow.observe.counters import RunCounters
from papyra_flow.observe.telemetry import configured, open_telemetry
from papyra_flow.runtime.consumer.consumer_names import consumer_name, process_name
from papyra_flow.runtime.consumer.loop import Consumer
from papyra_flow.runtime.consumer.partitions import Partitions
from papyra_flow.runtime.process.drain import Drain
from papyra_flow.runtime.process.gc_tuning import tuned_gc
from papyra_flow.runtime.process.heartbeat import Heartbeat
from papyra_flow.runtime.process.open_files import ensure_open_files
from papyra_flow.runtime.process.options import Outcome, RunOptions, Share
from papyra_flow.runtime.services.backpressure import Gate, Gates
from papyra_flow.runtime.services.belongings import Belongings
from papyra_flow.runtime.services.delayed_retries import Waits
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.source.worker import SourceWorker
from papyra_flow.runtime.stage.stage import StageRuntime, WorkerContext
from papyra_flow.steps.functions import forks
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology

STOP_SECONDS = 30.0
_log = logging.getLogger("papyra_flow.worker")


class Worker:
    """Runs a share; `run` returns how it ended, `stop` asks it to end."""

    def __init__(
        self,
        topology: Topology,
        server: Server,
        options: RunOptions,
        counters: RunCounters,
        share: Share | None = None,
        *,
        part: str = "",
        quarantining: asyncio.Lock | None = None,
    ) -> None:
        """`part` tells its report from those of other workers in this process; they share the lock `quarantining`."""
        self._topology = topology
        self._server = server
        self._options = options
        self._share = share or Share()
        self.started = asyncio.Event()
        """Set once the steps are built and the work begins."""
        self._counters = counters
        process = options.consumer_name or process_name()
        if options.consumer_name and self._share.total > 1:
            process = f"{process}-{self._share.index}"
        keep = {
            stream.key: stream.retain if isinstance(stream.retain, float) else 0.0
            for stream in topology.streams.values()
            if stream.retain != "all"
        }
        self._context = WorkerContext(
            topology=topology,
            server=server,
            process=process,
            gates=Gates(),
            keepalive=Keepalive(server.url, server.apart),
            trimmer=Trimmer(server.client, keep),
            leases=Leases(server.client, process, topology.keys.probe, topology.keys.ledger),
            pauses=Pauses(server.client, topology.keys.paused),
            telemetry=open_telemetry() if configured() else None,
            quarantining=quarantining or asyncio.Lock(),
        )
        self._heartbeat = Heartbeat(server.client, topology.keys.workers, process + part, counters, self._context.clock)
        self._drain = topology.bounded if options.drain is None else options.drain
        self._stages = [stage for stage in topology.in_order() if not options.stages or stage.name in options.stages]
        self._sources: list[SourceWorker] = []
        self._consumers: list[Consumer] = []
        self._owned: list[Partitions] = []
        self._runtimes: list[StageRuntime] = []

    @property
    def _parts(self) -> list[SourceWorker | Consumer | Partitions]:
        return [*self._sources, *self._consumers, *self._owned]

    @property
    def at_rest(self) -> bool:
        """Whether sources have ended and consumers have nothing in flight, as far as they are this process'."""
        return all(part.at_rest for part in self._parts)

    def stop(self) -> None:
        """Ask the run to end: in-flight batches are committed, the rest is given back."""
        self._context.stopping.set()

    async def run(self) -> Outcome:
        """Run until drained or stopped; raises the error that ended the run."""
        with forks.working():
            return await self._run()

    async def _run(self) -> Outcome:
        self._prepare()
        ensure_open_files(len(self._consumers), len(self._sources) + sum(one.spec.exclusive for one in self._runtimes))
        await self._start_steps()
        self._context.keepalive.start()
        if self._context.telemetry is not None:
            self._context.telemetry.export(self._topology, self._context.process, self._counters)
        self.started.set()
        self._context.belongings = belongings = Belongings()
        try:
            with tuned_gc():
                return await self._work()
        finally:
            belongings.close()

    async def _start_steps(self) -> None:
        """Start what steps have to start; if one cannot be, close what others opened."""
        for number, runtime in enumerate(self._runtimes):
            try:
                await runtime.program.start()
            except BaseException:
                for started in self._runtimes[:number]:
                    await started.program.close()
                raise

    async def _work(self) -> Outcome:
        beside = [asyncio.create_task(work) for work in self._beside()]
        tasks = [asyncio.create_task(part.run()) for part in self._parts]
        try:
            outcome = await self._until_the_end(tasks)
        except Exception:
            await self._wind_up(tasks, beside)
            raise
        except asyncio.CancelledError:  # as a second signal does: it ends at once, and nothing is wound up
            for task in (*tasks, *beside):
                task.cancel()
            raise
        await self._wind_up(tasks, beside)
        return outcome

    def _beside(self) -> Sequence[Coroutine[object, object, None]]:
        """What runs next to the stages."""
        mine = {runtime.name for runtime in self._runtimes}
        stages = [stage for stage in self._stages if stage.name in mine]
        waits = Waits(self._topology, self._server, stages, draining=self._drain)
        return self._context.trimmer.run(), self._heartbeat.run(), self._context.pauses.run(), waits.run()

    async def _until_the_end(self, tasks: Sequence[asyncio.Task[None]]) -> Outcome:
        stopping = asyncio.create_task(self._context.stopping.wait())
        ends: set[asyncio.Task[bool] | asyncio.Task[None]] = {stopping}
        names = [stage.name for stage in self._stages]
        drain = Drain(self._context, names, lambda: self.at_rest, self._options.owned, self._close)
        draining = asyncio.create_task(drain.wait()) if self._drain else None
        if draining is not None:
            ends.add(draining)
        running: set[asyncio.Task[None]] = set(tasks)
        try:
            while True:
                done, _ = await asyncio.wait({*running, *ends}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if draining in done:
                    return "drained"
                if stopping in done:
                    return "stopped"
                running.difference_update(done)
        finally:
            for task in ends:
                task.cancel()

    def _close(self, stage: str) -> None:
        for owned in self._owned:
            if owned.name == stage:
                owned.end_of_input()

    async def _wind_up(self, tasks: Sequence[asyncio.Task[None]], beside: Sequence[asyncio.Task[None]]) -> None:
        """Stop everything in an orderly way; the server may be gone, which must not hide why we end."""
        for task in beside:
            task.cancel()
        self._context.stopping.set()
        await asyncio.gather(*(part.stop() for part in self._parts), return_exceptions=True)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    _log.debug("while stopping: %s", result)
        for part in self._parts:
            with suppress(ServerError, FencedError):
                await part.leave()
        self._context.keepalive.stop()
        if self._context.telemetry is not None:
            await asyncio.to_thread(self._context.telemetry.close)
        for runtime in self._runtimes:
            with suppress(PapyraFlowError, OSError):
                await runtime.program.close()
        with suppress(ServerError):
            await self._context.trimmer.finish()
            await self._heartbeat.leave()

    def _prepare(self) -> None:
        for stream in self._topology.named.values():
            limit, readers = stream.spec.max_backlog, stream.spec.readers
            if limit is not None:
                groups = [self._topology.stages[name].group for name in readers]
                later = [self._topology.keys.later(name) for name in readers]
                gate = Gate(
                    self._server.client, keys=stream.keys, groups=groups, limit=limit,
                    stopping=self._context.stopping, later=later,
                )  # fmt: skip
                self._context.gates.add(stream.name, gate)
        turn = 0
        for stage in self._stages:
            if stage.source is not None:
                if self._mine(turn):
                    config = self._source_of(stage, stage.source)
                    counters = self._counters.stages[stage.name]
                    self._sources.append(SourceWorker(stage, config, self._context, counters))
                turn += 1
            turn = self._prepare_consumers(stage, turn)

    def _prepare_consumers(self, stage: StageSpec, turn: int) -> int:
        if not stage.inputs:
            return turn
        if stage.owned:
            runtime = StageRuntime(stage, self._context, self._counters.stages[stage.name])
            self._runtimes.append(runtime)
            member = consumer_name(self._context.process, stage.name, 0)
            self._owned.append(Partitions(runtime, self._topology.partitions(stage), member))
            return turn
        numbers = [number for number in range(stage.settings.consumers) if self._mine(turn + number)]
        if numbers:
            counters = self._counters.stages[stage.name]
            runtime = StageRuntime(stage, self._context, counters)
            self._runtimes.append(runtime)
            for number in numbers:
                name = consumer_name(self._context.process, stage.name, number)
                self._consumers.append(Consumer(runtime, name))
        return turn + stage.settings.consumers

    def _mine(self, turn: int) -> bool:
        return turn % self._share.total == self._share.index

    def _source_of(self, stage: StageSpec, source: SourceConfig) -> SourceConfig:
        """The source; under `--drain` one that would follow ends at what is there."""
        if not self._drain:
            return source
        if (ending := source.ending()) is not None:
            return ending
        raise UsageError(f"--drain: the source of {stage.name!r} ({source.describe()}) never ends")
