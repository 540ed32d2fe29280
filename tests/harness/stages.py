"""One stage at work on a server in memory: its input, its output, and a step that a test can look into and stop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from tests.harness.memory import MemoryServer
from tests.harness.memory.streams import Delivered, Id
from tests.harness.pipelines import PipelineFolder, Running

IN, OUT, DEAD, GROUP = "{p}:s", "{p}:t", "{p}:@dead:a", b"a"

STEPS = """\
    import asyncio
    from papyra_flow import Dead, Retry

    batches = []
    calls = {}
    bad = set()
    go_on = asyncio.Event()
    go_on.set()

    async def step(records):
        batches.append([record["n"] for record in records])
        await go_on.wait()
        found = []
        for record in records:
            n = record["n"]
            calls[n] = calls.get(n, 0) + 1
            if n in bad:
                raise ValueError(f"no {n}")
            found.append(record)
        return found
    """


class OneStage:
    """The stage `a`, from `s` to `t`; `settings` are the stage's own, as its YAML says them."""

    def __init__(
        self, folder: PipelineFolder, memory: MemoryServer, settings: str = "", streams: str = "s: {}", more: str = ""
    ) -> None:
        """`more` is another stage."""
        self.memory = memory
        self._module = folder.steps(STEPS)
        folder.pipeline(
            f"""\
            pipeline: p
            stages:
              a: {{from: s, process: [{{run: {{function: "{self._module}:step", batch: true}}}}], to: t, {settings}}}
              {more}
            streams: {{{streams}}}
            """
        )
        self.topology = folder.topology()

    def start(self, **options: Any) -> Running:
        """A worker for it."""
        return Running(self.topology, self.memory.connect(), **options)

    @property
    def step(self) -> ModuleType:
        """The step's module: what it has seen, and what it waits for. There once the worker has begun."""
        return sys.modules[self._module]

    def stop_steps(self) -> asyncio.Event:
        """From now on every batch waits in the step until this is set."""
        self.step.go_on.clear()
        return self.step.go_on  # type: ignore[no-any-return]

    def put(self, *numbers: int) -> None:
        """Add records, all at once."""
        self.memory.do_all([("XADD", IN, "*", "data", json.dumps({"n": n})) for n in numbers])

    def deliver(self, consumer: str, count: int, *, times: int = 1, idle: float = 0.0) -> list[Id]:
        """New entries go to somebody else, as often as that, so long ago."""
        if not self.memory.stream(IN).groups:
            self.memory.do("XGROUP", "CREATE", IN, GROUP, "0", "MKSTREAM")
        group = self.memory.stream(IN).groups[GROUP]
        known = set(group.pending)
        self.memory.deliver(IN, GROUP, consumer, count)
        ids = [at for at in group.pending if at not in known]
        for at in ids:
            group.pending[at] = Delivered(consumer.encode(), self.memory.now() - round(idle * 1000), times)
        return ids

    def _numbers(self, key: str) -> list[int]:
        entries = self.memory.stream(key).entries.values()
        return [json.loads(dict(zip(fields[::2], fields[1::2], strict=True))[b"data"])["n"] for fields in entries]

    @property
    def arrived(self) -> list[int]:
        """The numbers of the records that were forwarded, in their order."""
        return self._numbers(OUT)

    @property
    def dead(self) -> list[int]:
        """The numbers of the dead letters."""
        return self._numbers(DEAD)

    @property
    def pending(self) -> dict[Id, Delivered]:
        """What is pending for the stage."""
        return self.memory.stream(IN).groups[GROUP].pending

    def names(self) -> Iterable[bytes]:
        """The group's consumers."""
        return self.memory.stream(IN).groups[GROUP].consumers
