"""Pipelines in tests: a folder with a file, step functions and data, run in this process or by the command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.errors import InvalidPipelineError, Problem
from papyra_flow.observe.counters import RunCounters
from papyra_flow.runtime.process.options import RunOptions, RunResult, Share
from papyra_flow.runtime.process.run import apply_topology, run_pipeline
from papyra_flow.runtime.process.worker import Worker
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.model import Topology
from tests.harness import HANGS_SECONDS

COMMAND = (sys.executable, "-m", "papyra_flow")


@dataclass
class PipelineFolder:
    """A folder that a pipeline lives in; `file` is its YAML."""

    path: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The pipeline's file."""
        return self.path / "pipeline.yml"

    def pipeline(self, text: str) -> PipelineFolder:
        """Write the pipeline's file, dedented."""
        self.file.write_text(textwrap.dedent(text))
        return self

    def write(self, name: str, text: str) -> Path:
        """Write a file beside it, dedented."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
        return target

    def steps(self, text: str) -> str:
        """Write a module of step functions under a name of its own, which is returned.

        Each test needs another name: a process imports a module once.
        """
        name = f"steps_{self.path.parent.name}_{self.path.name}".replace("-", "_")
        self.write(f"{name}.py", text)
        return name

    def records(self, name: str, records: Iterable[Mapping[str, object]]) -> Path:
        """Write records as JSON lines."""
        return self.write(name, "".join(json.dumps(record) + "\n" for record in records))

    def topology(self, *overrides: str) -> Topology:
        """The pipeline's topology, checked."""
        return build_topology(load_pipeline(self.file, overrides=overrides, environment={}))

    def problems(self) -> list[Problem]:
        """What is wrong with the file; none if it is valid."""
        try:
            self.topology()
        except InvalidPipelineError as exc:
            return list(exc.problems)
        return []

    async def run(self, url: str, *overrides: str, **options: Any) -> RunResult:
        """Run the pipeline in this process, to its end; raises what ended it."""
        result = await run_pipeline(self.topology(*overrides), url, RunOptions(**options))
        if result.error is not None:
            raise result.error
        return result

    def cli(self, *arguments: str, code: int | None = 0, stdin: str = "", **environment: str) -> Finished:
        """Run the command in this folder; fails unless it ends with `code`, if one is given."""
        found = subprocess.run(
            [*COMMAND, *arguments], cwd=self.path, input=stdin, capture_output=True, text=True, timeout=HANGS_SECONDS,
            env={**_clean_environment(), **environment}, check=False,
        )  # fmt: skip
        finished = Finished(found.returncode, found.stdout, found.stderr)
        assert code is None or finished.code == code, f"exit code {finished.code}\n{finished.out}\n{finished.err}"
        return finished

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command in this folder and go on."""
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**_clean_environment(), **environment},
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what was started and still runs, because a test has failed: else it would slow down all that follow."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def output(self, name: str) -> list[dict[str, Any]]:
        """The records that a `jsonl` sink wrote."""
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on its stdout."""
        return json.loads(self.out)


def line_of(process: subprocess.Popen[str], words: str, stream: IO[str] | None = None) -> str:
    """The next line with these words on a command's stderr, or another `stream` of its; one that hangs is ended."""
    lines: list[str] = []
    hangs = threading.Timer(HANGS_SECONDS, process.kill)
    hangs.start()
    found = stream or process.stderr
    assert found is not None
    try:
        for line in iter(found.readline, ""):
            lines.append(line)
            if words in line:
                return line
    finally:
        hangs.cancel()
    pytest.fail(f"it ended without a word of {words!r}, and said {lines}")


class Running:
    """A worker in this process that a test looks at while it runs."""

    def __init__(self, topology: Topology, server: str | Server, **options: Any) -> None:
        self.topology = topology
        self.server = Server(server) if isinstance(server, str) else server
        self.counters = RunCounters.of(list(topology.stages))
        self.worker = Worker(topology, self.server, RunOptions(**options), self.counters, Share())
        self.task: asyncio.Task[str] | None = None

    async def __aenter__(self) -> Running:
        await apply_topology(self.server, self.topology)
        self.task = asyncio.create_task(self.worker.run())
        return self

    @property
    def ended(self) -> bool:
        """Whether it has come to its end by itself."""
        return self.task is not None and self.task.done()

    async def stop(self) -> str:
        """Stop in an orderly way; returns the outcome."""
        assert self.task is not None
        self.worker.stop()
        return await self.task

    async def __aexit__(self, *exc: object) -> None:
        if self.task is not None and not self.task.done():
            await self.stop()
        await self.server.close()


async def until(condition: Callable[[], object], seconds: float = HANGS_SECONDS) -> None:
    """Let the loop go on until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.to_thread(threading.Event().wait, 0.002)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "NO_COLOR"}}
