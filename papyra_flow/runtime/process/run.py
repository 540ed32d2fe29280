"""A run from start to end: check the server, create what is missing, work, and say what came of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from papyra_flow.errors import (
    PapyraFlowError,
    PipelineFailedError,
    RefusedError,
    ServerError,
    UsageError,
    WrongKeyTypeError,
)
from papyra_flow.observe.counters import RunCounters
from papyra_flow.observe.logs import bind
from papyra_flow.runtime.process.audit import Audit
from papyra_flow.runtime.process.event_loop import run_async
from papyra_flow.runtime.process.options import Outcome, RunOptions, RunResult, Share
from papyra_flow.runtime.process.preflight import forewarn
from papyra_flow.runtime.process.signals import EndedAtOnceError, Signals
from papyra_flow.runtime.process.supervisor import Supervisor
from papyra_flow.runtime.process.worker import Worker
from papyra_flow.runtime.services.delayed_retries import what_waits
from papyra_flow.streams.commit.ledger import reopen
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.leftovers import leftovers, remember
from papyra_flow.topology.migration import former_groups, renamed
from papyra_flow.topology.model import Topology
from papyra_flow.topology.repartition import repartitioned
from papyra_flow.topology.shapes import reshaped

_log = logging.getLogger("papyra_flow.run")
__all__ = ["Runner", "Watch", "apply_topology", "run_async", "run_pipeline"]

Watch = Callable[[RunCounters, Server], Awaitable[None]]
"""Shows progress during a run; cancelled at its end."""


async def apply_topology(server: Server, topology: Topology) -> list[GroupSpec]:
    """Create every stream and group that is missing, in one round trip; returns those that were.

    Warns of what a changed file leaves behind.

    A server that is loading, or a connection that breaks, is borne with; one that is not there is told at once.

    Raises ServerTooOldError, WrongKeyTypeError with the key, and other ServerErrors; RefusedError where a stage would
    leave its former group behind, or a stream its partitions.
    """
    retry_policy = RetryPolicy("starting", also_unreachable=False)
    await retry_policy.keep_trying(server.check)
    await _refuse_to_start_over(server, topology, retry_policy)
    groups, marker = topology.groups(), topology.keys.applied
    try:
        await retry_policy.keep_trying(lambda: server.client.call("SET", topology.keys.destroyed, 1, "XX", "PX", 1))
        for sentence in await retry_policy.keep_trying(lambda: leftovers(server.client, topology)):
            _log.warning("%s", sentence)
        created = await retry_policy.keep_trying(lambda: create_groups(server.client, groups, marker=marker))
    except WrongKeyTypeError as exc:
        positions = await look(server.client, [stream.key for stream in topology.streams.values()])
        wrong = [found for found in positions.streams.values() if found.kind not in {"stream", "none"}]
        named = ", ".join(f"{found.key} holds a {found.kind}" for found in wrong)
        raise WrongKeyTypeError(f"{named or exc}: not a stream") from exc
    await retry_policy.keep_trying(lambda: reopen(server.client, topology.keys.ledger, created))
    await retry_policy.keep_trying(lambda: remember(server.client, topology))
    return created


async def _refuse_to_start_over(server: Server, topology: Topology, retry_policy: RetryPolicy) -> None:
    """Raise RefusedError where something on the server would be left behind: partitions with records or state in them,
    state that does not fit, or a stage's group that may be there under another name.
    """
    changed = await retry_policy.keep_trying(lambda: repartitioned(server.client, topology))
    changed += await retry_policy.keep_trying(lambda: reshaped(server.client, topology))
    if changed:
        raise RefusedError("\n".join(changed))
    keys = [topology.streams[name].key for stage in renamed(topology.stages.values()) for name in stage.inputs]
    if not keys:
        return
    positions = await retry_policy.keep_trying(lambda: look(server.client, list(dict.fromkeys(keys))))
    if former := former_groups(topology, positions):
        raise RefusedError("\n".join(map(str, former)))


class Runner(Protocol):
    """What does the work of a run."""

    async def run(self) -> Outcome:
        """Work until drained or stopped."""

    def stop(self) -> None:
        """Ask it to end."""


async def run_pipeline(
    topology: Topology,
    url: str,
    options: RunOptions,
    watch: Watch | None = None,
    make: Callable[[Topology, Server, RunCounters], Runner] | None = None,
) -> RunResult:
    """Run a pipeline on the server at `url` to its end; what does the work is a `Worker` unless `make` makes another.

    What ended a run before its time is in the result's `error`. Raises UsageError for stages that are not
    there, and ServerErrors when it cannot even start.
    """
    for name in options.stages or ():
        if name not in topology.stages:
            raise UsageError(f"unknown stage {name!r}; the stages are {', '.join(topology.stages)}")
    topology = replace(topology, redis=url)
    bind(pipeline=topology.pipeline)
    server = Server(url, key=topology.keys.applied, rewrite_below=options.rewrite_below)
    counters = RunCounters.of([name for name in topology.stages if not options.stages or name in options.stages])
    started = time.monotonic()
    try:
        await apply_topology(server, topology)
        await forewarn(server, topology)
        sources = [topology.stages[name].source_lease for name in counters.stages if topology.stages[name].source]
        before = (await look(server.client, [], sources)).leases
        options = replace(options, owned={key: (lease.epoch, lease.owner) for key, lease in before.items()})
        part: Runner
        if make is not None:
            part = make(topology, server, counters)
        elif options.processes > 1:
            part = Supervisor(topology, server.url, options, counters)
        else:
            part = Worker(topology, server, options, counters, Share())
        audit = Audit(server.client, topology, counters.stages)
        await RetryPolicy("starting", also_unreachable=False).keep_trying(audit.begin)
        beside = [asyncio.create_task(audit.run())]
        if watch:
            beside.append(asyncio.create_task(_watched(watch, counters, server)))
        error: PapyraFlowError | None = None
        outcome: Outcome = "failed"
        try:
            outcome = await _with_signals(part)
        except PapyraFlowError as exc:
            error = exc
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
        seconds = time.monotonic() - started
        streams: dict[str, dict[str, int]] = {}
        with suppress(ServerError):
            await audit.finish()
            streams = await _streams(server, topology)
            for line in await what_waits(server, topology, list(topology.stages.values())):
                _log.warning("%s: the next run continues with it", line)
        for name, lost in audit.lost.items():
            counters.stages[name].lost += lost
        if error is None and (error := audit.error) is not None:
            outcome = "failed"
        return RunResult(outcome, seconds, counters, streams, error)
    finally:
        with suppress(ServerError):
            await server.close()


async def _with_signals(part: Runner) -> Outcome:
    task = asyncio.create_task(part.run())
    with Signals(part.stop, task.cancel) as signals:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if signals.ended_by is not None:
                raise EndedAtOnceError(signals.ended_by) from None
            if task.cancelled() and not _cancelled_too():
                raise PipelineFailedError("a step cancelled the tasks of the run itself") from None
            await _stopped(part, task)
            raise


async def _stopped(part: Runner, task: asyncio.Task[Outcome]) -> None:
    """Whoever awaits the run has cancelled it: give back leases, locks and entries before it ends."""
    part.stop()
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()  # another cancellation came, and it ends at once
    if not task.cancelled() and (exc := task.exception()) is not None:
        _log.debug("while stopping: %s", exc)


def _cancelled_too() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _watched(watch: Watch, counters: RunCounters, server: Server) -> None:
    with suppress(ServerError):
        await watch(counters, server)


async def _streams(server: Server, topology: Topology) -> dict[str, dict[str, int]]:
    """Each stream's length and backlog, for the end of a run."""
    positions = await look(server.client, [stream.key for stream in topology.streams.values()])
    positions = await counted(server.client, positions, once=True)
    found = {}
    for stream in topology.named.values():
        if stream.spec.hidden:
            continue
        there = [positions.streams[key] for key in stream.keys]
        groups = [topology.stages[name].group for name in stream.spec.readers]
        backlog = max((sum(one.backlog([group]) for one in there) for group in groups), default=0)
        found[stream.name] = {"length": sum(one.length for one in there), "backlog": backlog}
    return found
