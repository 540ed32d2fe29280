"""What happens in a pipeline, from one look at its server to the next: the figures of every live view.

`graph --live`, `top`, `serve` and the metrics all show these. A rate needs two looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from papyra_flow.drawing.picture import Picture
from papyra_flow.observe.counters import StageCounters
from papyra_flow.observe.reports import EVERY_SECONDS, Alive, Report, read_reports
from papyra_flow.spec.units import format_duration
from papyra_flow.streams.admin.partitions import PartitionsSnapshot, look_at_partitions
from papyra_flow.streams.admin.pauses import paused
from papyra_flow.streams.commit.ledger import losses
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.backlog import backlog_of
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.snapshot import GroupPosition, StreamsSnapshot, look
from papyra_flow.topology.model import StageSpec, Topology

OLD_PENDING_CLAIM_TIMES = 3.0
"""Pending for this many claim times: its consumer is gone, and no other has taken it over."""


@dataclass(slots=True)
class StageFigures:
    """A stage's group now; rates are records a second, of the last two looks, by all workers."""

    consumers: int = 0
    pending: int = 0
    lag: int = 0
    lag_exact: bool = True
    """Whether it is the lag: otherwise it is the most that it can be."""
    oldest_pending: float | None = None
    """Seconds that the oldest pending entry has been idle."""
    dead: int = 0
    lost: int = 0
    """Entries that others took before the stage had processed them, as far as audits have found them."""
    paused: bool = False
    partitions: PartitionsSnapshot | None = None
    """Its partitions, where they have owners."""
    groups: dict[str, GroupPosition] = field(default_factory=dict)
    """The stage's group on each of its streams, by key."""
    rate_in: float | None = None
    rate_out: float | None = None
    counters: StageCounters = field(default_factory=StageCounters)
    """What the workers that are there have done since they started."""

    @property
    def backlog(self) -> int:
        """All that the group has still to do."""
        return self.pending + self.lag


@dataclass(slots=True)
class StreamFigures:
    """A stream now."""

    length: int = 0
    bytes: int = 0
    rate: float | None = None
    """Entries added a second."""
    partitions: dict[str, StreamFigures] = field(default_factory=dict)
    """Those of its partitions, by key; of one that has none its own."""

    def add(self, key: str, part: StreamFigures) -> None:
        """Count a partition in; its rate is not known as long as that of any is not."""
        first = not self.partitions
        self.partitions[key] = part
        self.length += part.length
        self.bytes += part.bytes
        known = part.rate is not None and (first or self.rate is not None)
        self.rate = (self.rate or 0.0) + (part.rate or 0.0) if known else None


@dataclass(slots=True)
class Snapshot:
    """All figures of a pipeline at one time."""

    pipeline: str
    at: float
    """Seconds since 1970, by our own clock."""
    stages: dict[str, StageFigures] = field(default_factory=dict)
    streams: dict[str, StreamFigures] = field(default_factory=dict)
    workers: list[Report] = field(default_factory=list)


class Figures:
    """Looks at a pipeline's server; each `look` is compared with the one before it."""

    def __init__(self, server: Server, topology: Topology, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._topology = topology
        self._alive = Alive()
        self._before: tuple[float, StreamsSnapshot] | None = None
        self._out: dict[str, tuple[float, int, float | None]] = {}
        """When what left a stage was last seen to change, what it was then, and the rate until then."""

    async def look(self) -> Snapshot:
        """The figures now; raises ServerErrors."""
        topology, client = self._topology, self._server.client
        streams = [stream for stream in topology.streams.values() if not stream.hidden]
        dead = [stage.dead_key for stage in topology.stages.values()]
        keys = [stream.key for stream in topology.streams.values()]
        positions = await counted(client, await look(client, [*keys, *dead]))
        sizes = await client.call_many([("MEMORY", "USAGE", stream.key, "SAMPLES", 5) for stream in streams])
        reports = await read_reports(client, topology.keys.workers)
        held = await paused(client, topology.keys.paused)
        lost = await losses(client, topology.keys.ledger)
        now = self._clock()
        workers = self._alive.of(reports, now)
        found = Snapshot(topology.pipeline, time.time(), workers=workers)
        for stage in topology.in_order():
            one = StageCounters()
            for report in workers:
                if (told := report.counters.stages.get(stage.name)) is not None:
                    one.add(told)
            found.stages[stage.name] = figures = await self._stage(stage, positions, one, now)
            figures.paused = stage.name in held
            figures.lost = sum(lost.get((topology.streams[name].key, stage.group), 0) for name in stage.inputs)
        for stream, size in zip(streams, sizes, strict=True):
            position = positions.streams[stream.key]
            there = StreamFigures(position.length, size if isinstance(size, int) else 0)
            if self._before is not None:
                earlier, before = self._before
                added = before.streams[stream.key].added, position.added
                there.rate = _rate(*added, now - earlier)
            found.streams.setdefault(stream.of, StreamFigures()).add(stream.key, there)
        self._before = (now, positions)
        return found

    async def _stage(
        self, stage: StageSpec, positions: StreamsSnapshot, counters: StageCounters, now: float
    ) -> StageFigures:
        topology, figures = self._topology, StageFigures(counters=counters)
        figures.dead = positions.streams[stage.dead_key].length
        keys = [topology.streams[name].key for name in stage.inputs]
        at = await backlog_of(self._server.client, positions, keys, stage.group)
        figures.groups, figures.consumers, figures.pending = at.groups, at.consumers, at.pending
        figures.lag, figures.lag_exact, figures.oldest_pending = at.lag, at.exact, at.oldest_pending
        if stage.owned:
            figures.partitions = await look_at_partitions(
                self._server.client, topology.partitions(stage), stage.settings.claim_after
            )
            figures.consumers = figures.partitions.owned
        if self._before is not None:
            earlier, before = self._before
            if stage.inputs:
                read = _read_of(before, topology, stage)
                figures.rate_in = _rate(read, _read_of(positions, topology, stage), now - earlier)
        figures.rate_out = self._rate_out(stage.name, _left(counters), now)
        return figures

    def _rate_out(self, stage: str, total: int, now: float) -> float | None:
        """The rate between the last two reports that were different; workers report every few seconds only."""
        since, before, rate = self._out.get(stage, (now, total, None))
        if total != before and now > since:
            rate = _rate(before, total, now - since)
        if total != before or stage not in self._out:
            self._out[stage] = (now, total, rate)
        elif now - since > 2 * EVERY_SECONDS:
            rate = 0.0
        return rate


def _read_of(positions: StreamsSnapshot, topology: Topology, stage: StageSpec) -> int:
    groups = [positions.streams[topology.streams[name].key].groups.get(stage.group) for name in stage.inputs]
    return sum(group.read for group in groups if group is not None and group.read is not None)


def _left(counters: StageCounters) -> int:
    return counters.emitted.total() + counters.written


def _rate(before: int | None, after: int | None, seconds: float) -> float | None:
    """What came in a second; nothing where a count began again, None where the server does not know one."""
    if before is None or after is None:
        return None
    return max(0, after - before) / seconds if seconds > 0 else 0.0


def alarming(stage: StageSpec, figures: StageFigures) -> str | None:
    """Why a stage needs attention, or None."""
    if (
        figures.oldest_pending is not None
        and figures.oldest_pending > OLD_PENDING_CLAIM_TIMES * stage.settings.claim_after
    ):
        return f"pending for {format_duration(round(figures.oldest_pending))}, and no consumer works on it"
    if figures.partitions is not None and figures.partitions.lost:
        return f"the server lost {figures.partitions.lost:,} keys of its state"
    if figures.partitions is not None and figures.partitions.isolating:
        return "isolating an entry that ended its owners"
    if figures.partitions is not None and 0 < figures.partitions.owned < len(figures.partitions.partitions):
        return f"{len(figures.partitions.partitions) - figures.partitions.owned} partitions without an owner"
    if figures.backlog and not figures.consumers:
        return "a backlog, and no consumers"
    return None


def put_on(picture: Picture, snapshot: Snapshot, topology: Topology) -> None:
    """Write the figures into a picture's nodes."""
    for node in picture.nodes:
        kind, _, name = node.id.partition(":")
        if kind == "stage":
            node.figures = _stage_lines(topology.stages[name], snapshot.stages[name])
            node.alarming = alarming(topology.stages[name], snapshot.stages[name]) is not None
        elif kind == "dead":
            count = snapshot.stages[name].dead
            node.figures, node.alarming = [f"{count:,}"], count > 0
        elif kind == "stream" and name in snapshot.streams:
            figures = snapshot.streams[name]
            node.figures = [f"{figures.length:,} entries" + _per_second(figures.rate)]


def _stage_lines(stage: StageSpec, figures: StageFigures) -> list[str]:
    lines = ["paused"] if figures.paused else []
    if stage.inputs:
        lines.append(
            f"lag {'' if figures.lag_exact else '≤ '}{figures.lag:,} · pending {figures.pending:,}"
            + _per_second(figures.rate_in)
        )
    elif figures.rate_out is not None:
        lines.append(f"{figures.rate_out:,.0f}/s")
    if stage.keyed_step is not None and figures.partitions is not None:
        lines.append(kept_words(figures.partitions))
    if (reason := alarming(stage, figures)) is not None:
        lines.append(reason)
    return lines


def kept_words(there: PartitionsSnapshot) -> str:
    """How much state there is, and how far event time is behind."""
    delay = there.delay_ms
    behind = "" if delay is None else f" · watermark {format_duration(round(delay / 1000))} behind"
    return f"state {there.entries:,}{behind}"


def _per_second(rate: float | None) -> str:
    return f" · {rate:,.0f}/s" if rate is not None else ""
