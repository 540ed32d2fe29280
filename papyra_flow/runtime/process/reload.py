"""`run --watch`: a run that follows its files. What changed is checked, and the stages that it affects start again.

Each stage has a worker of its own, in this process: the others keep running. A stage that is stopped commits what it
is processing and gives back the rest, so nothing is lost. An edit that is not valid changes nothing, and says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from watchfiles import Change, awatch

from papyra_flow.errors import InvalidPipelineError, PapyraFlowError
from papyra_flow.observe.counters import RunCounters, StageCounters
from papyra_flow.runtime.process.options import Outcome, RunOptions
from papyra_flow.runtime.process.run import apply_topology
from papyra_flow.runtime.process.worker import Worker
from papyra_flow.spec.modules import read_again
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.build import assemble, build_topology, unwritten
from papyra_flow.topology.model import StageSpec, Topology

IGNORED = frozenset({"__pycache__", ".papyra-flow", ".venv", ".git"})
_log = logging.getLogger("papyra_flow.watch")


@dataclass(slots=True)
class _Running:
    """A stage at work, and what it was made of."""

    worker: Worker
    task: asyncio.Task[Outcome]
    made_of: object


class ReloadingRun:
    """A run that follows its files; the same face as `Worker`. `tell` shows why an edit is not valid."""

    def __init__(
        self,
        load: Callable[[], PipelineSpec],
        topology: Topology,
        server: Server,
        options: RunOptions,
        counters: RunCounters,
        tell: Callable[[PapyraFlowError], None],
        file: Path,
    ) -> None:
        self._load = load
        self._topology = topology
        self._server = server
        self._options = options
        self._counters = counters
        self._tell = tell
        self._file = file.resolve()
        self._stopping = asyncio.Event()
        self._quarantining = asyncio.Lock()
        self._running: dict[str, _Running] = {}
        self._not_taken_up: set[str] = set()
        """What was changed by edits that were not valid: it is taken up with the first one that is."""

    @property
    def topology(self) -> Topology:
        """What is running."""
        return self._topology

    def stop(self) -> None:
        """Ask the run to end."""
        self._stopping.set()

    async def run(self) -> Outcome:
        """Run, and follow the files, until stopped."""
        self._start(self._topology.stages)
        try:
            async for changes in awatch(self._file.parent, watch_filter=self._matters, stop_event=self._stopping):
                await self._follow({path for _, path in changes})
        finally:
            await self._end(list(self._running))
        return "stopped"

    def _matters(self, _: Change, path: str) -> bool:
        """Whether a file is part of the pipeline: itself, step functions, tables to look up in."""
        found = Path(path)
        if IGNORED & set(found.parts):
            return False
        return found.suffix == ".py" or found.resolve() in {self._file, *self._tables()}

    def _tables(self) -> set[Path]:
        steps = [step for stage in self._topology.stages.values() for step in stage.steps]
        return {(self._topology.folder / table).resolve() for step in steps for table in step.files()}

    async def _follow(self, changed: set[str]) -> None:
        """Take up what the files say now, if that can be run."""
        changed = changed | self._not_taken_up
        try:
            with read_again(self._topology.folder):
                topology = await self._checked()
            await apply_topology(self._server, topology)
        except PapyraFlowError as exc:
            _log.warning("the edit is not applied; the previous version keeps running")
            self._tell(exc)
            self._not_taken_up = changed
            return
        self._topology, self._not_taken_up = topology, set()
        made_of = {stage.name: _made_of(topology, stage) for stage in topology.stages.values()}
        affected = [
            name
            for name, running in self._running.items()
            if name not in made_of
            or running.made_of != made_of[name]
            or _uses(topology, topology.stages[name], changed)
        ]
        new = [name for name in made_of if name not in self._running]
        await self._end(affected)
        for name in made_of:
            self._counters.stages.setdefault(name, StageCounters())
        self._start([name for name in (*affected, *new) if name in made_of])
        _log.warning("%s", f"restarted: {', '.join((*affected, *new)) or 'nothing that is running has changed'}")

    async def _checked(self) -> Topology:
        """The topology as the files are now; raises InvalidPipelineError."""
        loaded = self._load()
        keys = unwritten(assemble(loaded))
        positions = await look(self._server.client, keys) if keys else None
        streams = positions.streams.items() if positions is not None else ()
        existing = frozenset(key for key, position in streams if position.kind == "stream")
        topology = replace(build_topology(loaded, existing=existing), redis=self._topology.redis)
        if topology.pipeline != self._topology.pipeline:
            problem = loaded.positions.problem(("pipeline",), "renamed", "a running pipeline cannot be renamed")
            raise InvalidPipelineError([problem])
        return topology

    def _start(self, names: Iterable[str]) -> None:
        for name in names:
            worker = Worker(
                self._topology, self._server, replace(self._options, stages=(name,)), self._counters,
                part=f"/{name}", quarantining=self._quarantining,
            )  # fmt: skip
            task = asyncio.create_task(worker.run())
            task.add_done_callback(lambda task, name=name: self._ended(name, task))  # type: ignore[misc]
            self._running[name] = _Running(worker, task, _made_of(self._topology, self._topology.stages[name]))

    def _ended(self, name: str, task: asyncio.Task[Outcome]) -> None:
        """A stage has come to its end by itself: drained, or it failed; either way an edit starts it again."""
        if task.cancelled():
            return
        if (exc := task.exception()) is None:
            _log.info("%s: %s", name, task.result())
        elif isinstance(exc, PapyraFlowError):
            _log.warning("%s failed; waiting for an edit", name)
            self._tell(exc)
        else:
            task.get_loop().call_exception_handler({"message": f"the stage {name} broke", "exception": exc})

    async def _end(self, names: Iterable[str]) -> None:
        ended = [self._running.pop(name) for name in names]
        for running in ended:
            running.worker.stop()
        await asyncio.gather(*(running.task for running in ended), return_exceptions=True)


def _made_of(topology: Topology, stage: StageSpec) -> object:
    """All that a stage's worker depends on in the file: equal as long as it need not be started again."""
    written = topology.parts(dict.fromkeys((*stage.outputs, *stage.source_to)))
    streams = [*topology.inputs(stage), *written]
    shapes = [(s.key, s.config, sorted(s.readers), sorted(s.writers)) for s in streams]
    return stage.config, stage.settings, stage.group, shapes


def _uses(topology: Topology, stage: StageSpec, changed: set[str]) -> bool:
    """Whether a stage depends on a file: a table that it looks up in, or Python, if it calls any."""
    if any(path.endswith(".py") for path in changed) and any(one.calls_code for one in stage.components):
        return True
    tables = [table for step in stage.steps for table in step.files()]
    return any(str((topology.folder / table).resolve()) in changed for table in tables)
