"""The figures that all who look at the page share: one look at the server a second, however many they are."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from papyra_flow.drawing.picture import Picture, picture
from papyra_flow.errors import ServerError
from papyra_flow.histograms import Histogram
from papyra_flow.observe.figures import Figures, Snapshot, alarming, put_on
from papyra_flow.observe.partitions import stage_document
from papyra_flow.spec.positions import Positions
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import Topology

EVERY_SECONDS = 1.0
FOLLOW_SECONDS = 10.0
ROOM: dict[str, int] = {"stage": 40, "stream": 24, "dead": 6}
"""Characters that figures get in the drawing, by the kind of node."""


class Live:
    """Figures that are at most a second old."""

    def __init__(self, server: Server, topology: Topology) -> None:
        self.topology = topology
        self._figures = Figures(server, topology)
        self._turn = asyncio.Lock()
        self._latest: tuple[float, Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """The figures; raises ServerErrors."""
        async with self._turn:
            if self._latest is None or time.monotonic() - self._latest[0] >= EVERY_SECONDS:
                self._latest = time.monotonic(), await self._figures.look()
            return self._latest[1]

    def latest(self) -> Snapshot | None:
        """The figures as they were when they were last looked at."""
        return self._latest[1] if self._latest is not None else None

    async def follow(self) -> None:
        """Look again and again, for those who only take what is there; until cancelled."""
        while True:
            with suppress(ServerError):
                await self.snapshot()
            await asyncio.sleep(FOLLOW_SECONDS)

    async def drawing(self, positions: Positions) -> Picture:
        """The picture with room for figures to come; without the server's, where it cannot be reached."""
        drawn = picture(self.topology, positions)
        try:
            put_on(drawn, await self.snapshot(), self.topology)
        except ServerError:
            for node in drawn.nodes:
                node.figures = ["?"] if node.kind in {"stage", "stream", "dead"} else []
        for node in drawn.nodes:
            room, lines = ROOM.get(node.kind, 0), 2 if node.keyed else 1
            figures = (node.figures + [""] * lines)[:lines] if room else []
            node.figures = [line.ljust(room) for line in figures]
        return drawn

    async def document(self) -> dict[str, object]:
        """The figures as the page gets them: what is written into the drawing, and the rows of its tables."""
        snapshot, drawn, named = await self.snapshot(), picture(self.topology), self.topology.named
        put_on(drawn, snapshot, self.topology)
        return {
            "at": snapshot.at,
            "nodes": {node.id: {"figures": node.figures, "alarming": node.alarming} for node in drawn.nodes},
            "stages": [_stage(self.topology, snapshot, name) for name in snapshot.stages],
            "streams": [
                {"name": name, "key": named[name].key, "length": one.length, "bytes": one.bytes, "rate": one.rate,
                 "partitions": named[name].partitions}
                for name, one in snapshot.streams.items()
            ],
            "workers": [{"name": report.worker, "age": report.age} for report in snapshot.workers],
        }  # fmt: skip


def _stage(topology: Topology, snapshot: Snapshot, name: str) -> dict[str, object]:
    figures, stage = snapshot.stages[name], topology.stages[name]
    timings = figures.counters.timings
    return {
        "name": name,
        "reads": ", ".join(topology.reads(stage)),
        "consumers": figures.consumers,
        "lag": figures.lag,
        "lag_exact": figures.lag_exact,
        "pending": figures.pending,
        "oldest_pending": figures.oldest_pending,
        "rate_in": figures.rate_in,
        "rate_out": figures.rate_out,
        "p50": milliseconds(timings.latency, 0.5),
        "p99": milliseconds(timings.latency, 0.99),
        "dead": figures.dead,
        "paused": figures.paused,
        "alarm": alarming(stage, figures),
        **(stage_document(stage, figures.partitions) if figures.partitions is not None else {}),
    }


def milliseconds(histogram: Histogram, share: float) -> float | None:
    """A quantile in milliseconds, None without values."""
    value = histogram.quantile(share)
    return None if value is None else value * 1000
