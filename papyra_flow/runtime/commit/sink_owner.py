"""Opening a stage's sink, as its only owner where it may have only one, and giving it up again.

The first time the lease is taken at once, which fences off the previous owner; one that was itself fenced off waits
until the owner has gone silent.
"""

from __future__ import annotations

from dataclasses import replace

from papyra_flow.connectors.base import OpenSink, SinkConfig
from papyra_flow.errors import FencedError
from papyra_flow.runtime.commit.sink_errors import opened
from papyra_flow.runtime.commit.sink_writer import SinkWriter
from papyra_flow.runtime.services.connector_retries import ConnectorRetries
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.lease import Lease


class SinkOwner:
    """One consumer's hold on its stage's sink."""

    def __init__(self, stage: StageRuntime, config: SinkConfig) -> None:
        self._stage = stage
        self._config = config
        self._sink: OpenSink | None = None
        self._lease: Lease | None = None
        self._was_owner = False
        self._standing_by = False

    @property
    def exclusive(self) -> bool:
        """Whether no other consumer has, or can commit, anything of this group."""
        return self._lease is not None

    async def open(self) -> SinkWriter | None:
        """Open the sink at its checkpoint; None if the process is to stop before it is our turn.

        The lease comes first: from then on the checkpoint that it tells cannot be moved by others. While we
        wait for the sink's lock, a newer owner may have come and gone, so the lease is checked once more before
        anything is cut back. One that is still open is closed first: it would keep the lock from us for ever. Raises
        FencedError.
        """
        await self.close()
        stage, spec = self._stage, self._stage.spec
        if spec.exclusive:
            self._lease = await self._own()
            if self._lease is None:
                return None
        context = stage.context.topology.connector_context(spec.name)
        self._sink = self._config.open(replace(context, fence=self._fence, keep=self._keep, lost=self._count_lost))
        retries = ConnectorRetries(stage.name, spec.settings, stage.context, stage.counters, self._beat_surely)
        await opened(self._start, retries, stage.context.stopping.is_set)
        return SinkWriter(self._sink, self._lease, retries, stage.context.stopping.is_set)

    async def _start(self) -> None:
        """Start the opened sink, all of it again where it was away."""
        if (sink := self._sink) is not None:
            await sink.lock()
            await self._fence()
            await self._keep(await sink.start(self._lease.checkpoint if self._lease else ""))

    async def _beat_surely(self) -> None:
        await self._stage.retry_policy.keep_trying(self.beat)

    @property
    def standing_by(self) -> bool:
        """Whether another process owns the sink, so that there is nothing to do here."""
        return self._standing_by

    async def _fence(self) -> None:
        """Raise FencedError if the lease is another's by now, or is not where we moved it."""
        stage = self._stage
        await stage.retry_policy.keep_trying(self.beat)
        if (lease := self._lease) is not None:
            held = await stage.retry_policy.keep_trying(
                lambda: stage.context.server.client.call("HGET", lease.key, "checkpoint")
            )
            if (held or b"") != lease.checkpoint.encode():
                raise FencedError(f"{lease.key} is not where its owner left it")

    async def _keep(self, checkpoint: str) -> None:
        """Keep a checkpoint beside the commits."""
        if (lease := self._lease) is not None:
            await self._stage.retry_policy.keep_trying(lambda: self._stage.context.leases.move(lease, checkpoint))

    def _count_lost(self, records: int) -> None:
        self._stage.counters.lost += records

    async def _own(self) -> Lease | None:
        context, silence = self._stage.context, self._stage.spec.settings.claim_after
        while not context.stopping.is_set():
            if lease := await self._stage.retry_policy.keep_trying(self._take):
                self._was_owner = True
                self._standing_by = False
                return lease
            self._standing_by = True
            context.activity.set()
            await context.rest(silence / 3)
        return None

    async def _take(self) -> Lease | None:
        silence = self._stage.spec.settings.claim_after if self._was_owner else None
        return await self._stage.context.leases.take(self._stage.spec.sink_lease, wait_for=silence)

    async def beat(self) -> None:
        """Say that the owner is alive; raises FencedError if another process is by now."""
        if self._lease is not None:
            await self._stage.context.leases.beat(self._lease)

    async def close(self) -> None:
        """Close the sink; the lease stays, so that only a silent or a newer owner loses it."""
        if self._sink is not None:
            await self._sink.close()
            self._sink = None

    async def release(self) -> None:
        """Let the next owner start at once."""
        if self._lease is not None:
            lease, self._lease = self._lease, None
            await self._stage.context.leases.release(lease)
