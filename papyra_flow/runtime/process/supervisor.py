"""Several processes for one run: each gets its share of sources and consumers, and is started again if it dies.

Children take no signals from the terminal: they are told to stop through their pipe, so that one Ctrl-C means
one thing.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Protocol, TypeAlias

from papyra_flow.errors import PapyraFlowError, PipelineFailedError
from papyra_flow.leaving import leave
from papyra_flow.observe.counters import RunCounters
from papyra_flow.observe.logs import bind, set_up_logging
from papyra_flow.observe.masking import masked_logs
from papyra_flow.runtime.process.last_resort import end_with_parent
from papyra_flow.runtime.process.options import Outcome, RunOptions, Share
from papyra_flow.runtime.process.worker import Worker
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import Topology

REPORT_SECONDS = 0.25
DEATHS_BEFORE_START = 3
DEATHS_WITHOUT_PROGRESS = 100
LONGEST_PAUSE_SECONDS = 5.0
STARTED = "started"
OURS = (signal.SIGINT, signal.SIGTERM)
"""Signals that are for the parent alone."""

Message: TypeAlias = RunCounters | str | PapyraFlowError
"""From a child: that it has started, its counters so far, its outcome, or the error that ended it."""

_log = logging.getLogger("papyra_flow.supervisor")


class Process(Protocol):
    """What is used of a process."""

    @property
    def exitcode(self) -> int | None:
        """None while it runs."""

    def is_alive(self) -> bool:
        """Whether it runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""

    def kill(self) -> None:
        """End it at once."""


Spawn: TypeAlias = Callable[[Share], tuple[Process, Connection]]
"""Starts the process of a share; returns it, and our end of its pipe."""


@dataclass(slots=True)
class _Child:
    share: Share
    process: Process
    pipe: Connection
    counters: RunCounters
    deaths: int
    """Deaths of its forerunners since one of them last got anything done."""
    started: bool = False
    outcome: str | None = None
    error: PapyraFlowError | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Runs a pipeline in `options.processes` processes; the same face as `Worker`."""

    def __init__(
        self, topology: Topology, url: str, options: RunOptions, counters: RunCounters, *, spawn: Spawn | None = None
    ) -> None:
        self._spawn = spawn or (lambda share: _spawn(topology, url, options, share))
        self._options = options
        self.counters = counters
        self._finished = RunCounters.of(list(counters.stages))
        self._children: dict[int, _Child] = {}
        self._coming: set[int] = set()
        """Children that died and are about to be restarted."""
        self._stopping = False
        self._changed = asyncio.Event()

    def stop(self) -> None:
        """Tell all children to stop."""
        self._stopping = True
        for child in self._children.values():
            with suppress(OSError):
                child.pipe.send("stop")

    async def run(self) -> Outcome:
        """Run until every child has ended; raises the first error of one."""
        loop = asyncio.get_running_loop()
        try:
            for index in range(self._options.processes):
                self._start(index, 0)
            while self._children or self._coming:
                await self._changed.wait()
                self._changed.clear()
                for index, child in list(self._children.items()):
                    if child.gone.is_set():
                        loop.remove_reader(child.pipe.fileno())
                        del self._children[index]
                        self._finished.add(child.counters)
                        self._after(child)
                self._sum_up()
            outcome: Outcome = "stopped" if self._stopping else "drained"
        except asyncio.CancelledError:  # the second signal: a step in a child may never come to an end
            for child in self._children.values():
                child.process.kill()
            raise
        finally:
            await self._end_all()
        return outcome

    def _after(self, child: _Child) -> None:
        """A child is gone: done, failed, or dead before its time.

        A record may end its process several times before it is known as a killer (`quarantine`), so deaths are
        tolerated; but not without an end.
        """
        child.process.join()
        if child.error is not None:
            raise child.error
        if child.outcome is not None:
            return
        index, code = child.share.index, child.process.exitcode
        deaths = 1 if child.counters.anything else child.deaths + 1
        limit = DEATHS_WITHOUT_PROGRESS if child.started else DEATHS_BEFORE_START
        if deaths >= limit:
            raise PipelineFailedError(f"process {index} died {deaths} times without making progress ({code})")
        if self._stopping:
            raise PipelineFailedError(f"process {index} died while stopping ({code})")
        pause = min(LONGEST_PAUSE_SECONDS, 0.05 * 2 ** (deaths // 10))
        _log.warning("process %d died (exit code %s); restarting it", index, code)
        self._coming.add(index)
        asyncio.get_running_loop().call_later(pause, self._start, index, deaths)

    def _start(self, index: int, deaths: int) -> None:
        self._coming.discard(index)
        if self._stopping:
            self._changed.set()
            return
        share = Share(index, self._options.processes)
        process, ours = self._spawn(share)
        child = _Child(share, process, ours, RunCounters({}), deaths)
        self._children[index] = child
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive, child)

    def _receive(self, child: _Child) -> None:
        try:
            while child.pipe.poll():
                message: Message = child.pipe.recv()
                if isinstance(message, RunCounters):
                    child.counters = message
                elif isinstance(message, PapyraFlowError):
                    child.error = message
                elif message == STARTED:
                    child.started = True
                else:
                    child.outcome = message
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(child.pipe.fileno())
            child.gone.set()
        self._changed.set()

    def _sum_up(self) -> None:
        total = RunCounters.of(list(self.counters.stages))
        total.add(self._finished)
        for child in self._children.values():
            total.add(child.counters)
        self.counters.stages.update(total.stages)

    async def _end_all(self) -> None:
        """End children that still run: politely first, because another may have failed."""
        self.stop()
        for child in self._children.values():
            await asyncio.to_thread(child.process.join, 5)
            if child.process.is_alive():
                child.process.kill()
                await asyncio.to_thread(child.process.join)


def _spawn(topology: Topology, url: str, options: RunOptions, share: Share) -> tuple[Process, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (topology, url, options, share, theirs, os.getpid())
    process = context.Process(target=_child_main, args=arguments, name=f"papyra-flow-{share.index}", daemon=True)
    # It begins with these signals blocked, so that a Ctrl-C while it imports is not its own either; the tracker,
    # which multiprocessing starts with the first child, would unblock them.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def _child_main(topology: Topology, url: str, options: RunOptions, share: Share, pipe: Connection, parent: int) -> None:
    from papyra_flow.runtime.process.event_loop import run_async

    end_with_parent(parent)
    for number in OURS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)
    set_up_logging(logging.WARNING)
    bind(pipeline=topology.pipeline)
    counters = RunCounters.of(list(topology.stages))
    try:
        with masked_logs(topology.public):
            outcome = run_async(_child(topology, url, options, share, counters, pipe))
    except PapyraFlowError as exc:
        pipe.send(counters)
        try:
            pipe.send(exc)
        except (TypeError, ValueError):
            pipe.send(PipelineFailedError(str(exc)))
    else:
        pipe.send(counters)
        pipe.send(outcome)
    pipe.close()
    leave(0)


async def _child(
    topology: Topology, url: str, options: RunOptions, share: Share, counters: RunCounters, pipe: Connection
) -> Outcome:
    server = Server(url, key=topology.keys.applied, rewrite_below=options.rewrite_below)
    worker = Worker(topology, server, options, counters, share)
    loop = asyncio.get_running_loop()

    def told() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())  # the parent is gone: end in an orderly way, no one else will say so
        worker.stop()

    async def report() -> None:
        with suppress(OSError):  # the parent is gone, which `told` takes care of
            await worker.started.wait()
            pipe.send(STARTED)
            while True:
                await asyncio.sleep(REPORT_SECONDS)
                pipe.send(counters)

    loop.add_reader(pipe.fileno(), told)
    reporting = asyncio.create_task(report())
    try:
        return await worker.run()
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])
        loop.remove_reader(pipe.fileno())
        await server.close()
