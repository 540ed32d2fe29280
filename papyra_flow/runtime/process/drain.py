"""Draining: a bounded run ends exactly when everything has arrived (invariant I7).

A forward and its ack are one step, so at any time every record is somewhere: not read yet, not delivered yet,
or pending. One consistent look at all streams and leases that finds nothing of the kind is therefore the end.
Looks are taken when this process has come to rest, and from then on a timer covers what others still do.

What was not delivered yet is not told by the server's `lag`, which is not known after a deletion and wrong after some
trims: a second look, taken when nothing is pending, asks for an entry behind each group's last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from papyra_flow.runtime.stage.stage import WorkerContext
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.groups.snapshot import StreamsSnapshot, look
from papyra_flow.topology.model import StageSpec, Topology

LOOK_AGAIN_SECONDS = 0.25


def is_idle(topology: Topology, stages: Iterable[StageSpec], positions: StreamsSnapshot) -> bool:
    """Whether nothing is pending for these stages."""
    for stage in stages:
        later = positions.streams.get(topology.keys.later(stage.name))
        if later is not None and later.kind == "zset":  # records wait there for another attempt
            return False
        for name in stage.inputs:
            stream = positions.streams[topology.streams[name].key]
            if stage.group in stream.groups and stream.groups[stage.group].pending:
                return False
            if stage.group not in stream.groups and stream.length:
                return False
    return True


class Drain:
    """Waits for the end; `at_rest` says whether this process has nothing in flight."""

    def __init__(
        self,
        context: WorkerContext,
        stages: Iterable[str],
        at_rest: Callable[[], bool],
        owned: Mapping[str, tuple[int, str]] | None = None,
        close: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`owned` is what this run's source leases were before: one that has ended has another epoch, or owner.

        `close` is told a stage of which all input has arrived: what its state keeps open closes.
        """
        self._context = context
        self._at_rest = at_rest
        own = set(stages)
        self._stages = context.topology.upstream(own)
        self._owned = owned or {}
        # A run's own sources end, also those that follow: `--drain` says so. Of others only those that end anyway.
        self._ending = [
            stage.source_lease
            for stage in self._stages
            if stage.source is not None and (stage.name in own or stage.source.bounded)
        ]
        topology = context.topology
        keys = [topology.streams[name].key for stage in self._stages for name in stage.inputs]
        keys += [topology.keys.later(stage.name) for stage in self._stages if stage.inputs]
        order = [stage for stage in topology.in_order() if stage.closes and stage in self._stages]
        self._close = close
        self._timers = {stage.name: [one.timers for one in topology.partitions(stage)] for stage in order}
        keys += [key for timers in self._timers.values() for key in timers]
        self._keys = list(dict.fromkeys(keys))
        self._groups = [(topology.streams[name].key, stage.group) for stage in self._stages for name in stage.inputs]
        self._leases = [stage.source_lease for stage in self._stages if stage.source is not None]
        self._retry_policy = RetryPolicy("draining")
        self._stood: dict[tuple[str, str], str] = {}
        """Where those groups (stream, group) stood at the last look that had a lag, as the server knows it."""
        self._waiting: tuple[str, str, str, int] | None = None
        """A group that had an entry before it: stream, group, where it stood, and the stream's length."""

    async def wait(self) -> None:
        """Return when all is drained."""
        activity = self._context.activity
        while True:
            activity.clear()
            if self._at_rest() and await self.drained():
                return
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS if self._at_rest() else None):
                    await activity.wait()
            except TimeoutError:
                continue

    async def drained(self) -> bool:
        """Whether all is drained, by a look now."""
        positions = await self._look()
        if not self._idle(positions):
            return False
        if self._still_waits(positions) or self._moves(positions):
            return False
        positions = await self._look(self._groups)
        if positions.undelivered is not None:
            key, group = positions.undelivered
            stream = positions.streams[key]
            self._waiting = key, group, stream.groups[group].last_delivered, stream.length
            return False
        return self._idle(positions) and not self._closes(positions)

    def _closes(self, positions: StreamsSnapshot) -> bool:
        """Whether something is open, now that all has arrived: it closes, stage by stage in the records' direction."""
        for stage, timers in self._timers.items():
            if any(positions.streams[key].kind == "zset" for key in timers):
                self._close(stage)
                return True
        return False

    def _idle(self, positions: StreamsSnapshot) -> bool:
        """Whether the sources have ended, in this run and not in one before, and nothing is pending."""
        for lease in self._ending:
            at = positions.leases[lease]
            if not at.done or (at.epoch, at.owner) == self._owned.get(lease):
                return False
        return is_idle(self._context.topology, self._stages, positions)

    def _moves(self, positions: StreamsSnapshot) -> bool:
        """Whether a group with a lag has moved since the last look: it is about to get on, lag or not."""
        stood, self._stood = self._stood, {}
        for key, name in self._groups:
            at = positions.streams[key].groups.get(name)
            if at is not None and at.exact and at.lag:
                self._stood[key, name] = at.last_delivered
        return any(stood.get(group) != at for group, at in self._stood.items())

    async def _look(self, undelivered: Sequence[tuple[str, str]] = ()) -> StreamsSnapshot:
        client = self._context.server.client
        return await self._retry_policy.keep_trying(
            lambda: look(client, self._keys, self._leases, undelivered=undelivered)
        )

    def _still_waits(self, positions: StreamsSnapshot) -> bool:
        """Whether the entry found last is certainly not delivered: its group has not moved, the stream has not shrunk.

        So that a large entry that waits for long, for a stage that is paused, is not copied with every look.
        """
        if self._waiting is None:
            return False
        key, group, stood, length = self._waiting
        stream = positions.streams[key]
        at = stream.groups.get(group)
        return at is not None and at.last_delivered == stood and stream.length >= length
