"""Progress of a run on a terminal: a line a stage with its rate, backlog and dead letters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import IO

from papyra_flow.observe.counters import RunCounters
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.model import Topology

EVERY_SECONDS = 0.5


class Progress:
    """A live table on a stream; only `wanted` where that is a terminal."""

    def __init__(self, topology: Callable[[], Topology], stream: IO[str]) -> None:
        """`topology` returns what is running now: an edit may change it."""
        self._topology = topology
        self._stream = stream
        self._last: dict[str, tuple[float, int]] = {}

    @property
    def wanted(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._stream.isatty() and os.environ.get("TERM") != "dumb"

    async def watch(self, counters: RunCounters, server: Server) -> None:
        """Draw until cancelled."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(await self._table(counters, server), refresh=True)  # type: ignore[arg-type]
                await asyncio.sleep(EVERY_SECONDS)

    async def _table(self, counters: RunCounters, server: Server) -> object:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        backlog = await self._backlog(server)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("stage")
        for column in ("records", "records/s", "backlog", "dead"):
            table.add_column(column, justify="right")
        now = asyncio.get_running_loop().time()
        for stage in self._topology().in_order():
            if stage.name not in counters.stages:
                continue
            counted = counters.stages[stage.name]
            before, count = self._last.get(stage.name, (now, counted.read))
            rate = (counted.read - count) / (now - before) if now > before else 0.0
            self._last[stage.name] = (now, counted.read)
            dead = Text(f"{counted.dead:,}", style="bold red" if counted.dead else "")
            waiting = f"{backlog.get(stage.name, 0):,}" if stage.inputs else "-"
            table.add_row(stage.name, f"{counted.read:,}", f"{rate:,.0f}", waiting, dead)
        return table

    async def _backlog(self, server: Server) -> dict[str, int]:
        topology = self._topology()
        positions = await look(server.client, [stream.key for stream in topology.streams.values()])
        positions = await counted(server.client, positions)
        return {
            stage.name: sum(
                positions.streams[topology.streams[name].key].backlog([stage.group]) for name in stage.inputs
            )
            for stage in topology.stages.values()
        }
