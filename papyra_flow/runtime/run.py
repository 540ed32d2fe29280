"""A run from start to end: check the server, create what is missing, work, and say what came of it.

Signals: the first SIGINT or SIGTERM stops in an orderly way, the second ends at once (exit code 130 or 143).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

from papyra_flow.errors import PapyraFlowError, ServerError, UsageError, WrongKeyTypeError
from papyra_flow.observe.counters import RunCounters
from papyra_flow.runtime.options import Outcome, RunOptions, RunResult, Share
from papyra_flow.runtime.supervisor import Supervisor
from papyra_flow.runtime.worker import Worker
from papyra_flow.streams.groups import GroupSpec, create_groups
from papyra_flow.streams.positions import look
from papyra_flow.streams.server import Server
from papyra_flow.topology.model import Topology

T = TypeVar("T")
Watch = Callable[[RunCounters, Server], Awaitable[None]]
"""Shows progress while a run goes on; cancelled at its end."""


class EndedAtOnceError(BaseException):
    """A second signal came: end now, with this exit code."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


def run_async(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine on the fastest event loop that the platform has."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def apply_topology(server: Server, topology: Topology) -> list[GroupSpec]:
    """Create every stream and group that is missing, in one round trip; returns those that were.

    Raises ServerTooOldError, WrongKeyTypeError with the key, and other ServerErrors.
    """
    await server.check()
    try:
        return await create_groups(server.wire, topology.groups(), marker=topology.keys.applied)
    except WrongKeyTypeError as exc:
        positions = await look(server.wire, [stream.key for stream in topology.streams.values()])
        wrong = [found for found in positions.streams.values() if found.kind not in {"stream", "none"}]
        named = ", ".join(f"{found.key} holds a {found.kind}" for found in wrong)
        raise WrongKeyTypeError(f"{named or exc}: not a stream") from exc


async def run_pipeline(topology: Topology, url: str, options: RunOptions, watch: Watch | None = None) -> RunResult:
    """Run a pipeline on the server at `url` to its end.

    What ended a run before its time is in the result's `error`. Raises UsageError for stages that are not
    there, and ServerErrors when it cannot even start.
    """
    for name in options.stages or ():
        if name not in topology.stages:
            raise UsageError(f"there is no stage {name!r}; there are {', '.join(topology.stages)}")
    server = Server(url)
    counters = RunCounters.of([name for name in topology.stages if not options.stages or name in options.stages])
    started = time.monotonic()
    try:
        await apply_topology(server, topology)
        if options.processes > 1:
            part: Worker | Supervisor = Supervisor(topology, server.url, options, counters)
        else:
            part = Worker(topology, server, options, counters, Share())
        watching = asyncio.create_task(_watched(watch, counters, server)) if watch else None
        error: PapyraFlowError | None = None
        outcome: Outcome = "failed"
        try:
            outcome = await _with_signals(part)
        except PapyraFlowError as exc:
            error = exc
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])
        seconds = time.monotonic() - started
        streams: dict[str, dict[str, int]] = {}
        with suppress(ServerError):
            streams = await _streams(server, topology)
        return RunResult(outcome, seconds, counters, streams, error)
    finally:
        with suppress(ServerError):
            await server.close()


async def _with_signals(part: Worker | Supervisor) -> Outcome:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(part.run())
    ended_by: list[int] = []

    def on_signal(number: int) -> None:
        ended_by.append(number)
        if len(ended_by) == 1:
            logging.getLogger("papyra_flow.run").warning("stopping: finishing what is in hand (again to end at once)")
            part.stop()
        else:
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if len(ended_by) > 1:
            raise EndedAtOnceError(ended_by[-1]) from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _watched(watch: Watch, counters: RunCounters, server: Server) -> None:
    with suppress(ServerError):
        await watch(counters, server)


async def _streams(server: Server, topology: Topology) -> dict[str, dict[str, int]]:
    """Each stream's length and backlog, for the end of a run."""
    positions = await look(server.wire, [stream.key for stream in topology.streams.values()])
    found = {}
    for stream in topology.streams.values():
        if stream.hidden:
            continue
        position = positions.streams[stream.key]
        groups = [topology.stages[name].group for name in stream.readers]
        found[stream.name] = {"length": position.length, "backlog": position.backlog(groups)}
    return found
