"""A stage's source: read a portion, commit it with its checkpoint, while the next portion is being read.

One owner at a time: a newer one fences off the older, which then stands by until the owner is gone. What does
not live here: what is read (`papyra_flow.connectors`), the script (`papyra_flow.streams.commit.lease`).
"""

from __future__ import annotations

import asyncio
import logging

from papyra_flow.connectors.base import AcknowledgedSource, OpenSource, Portion, SourceConfig, SourceOfParts
from papyra_flow.errors import ConnectorError, FencedError, TransientError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.observe.logs import bind
from papyra_flow.runtime.services.connector_retries import ConnectorRetries
from papyra_flow.runtime.source.ingest import Ingest
from papyra_flow.runtime.stage.stage import WorkerContext
from papyra_flow.runtime.stage.targets import Targets
from papyra_flow.streams.commit.lease import Lease
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.topology.model import StageSpec

LOOK_AGAIN_SECONDS = 1.0
_log = logging.getLogger("papyra_flow.source")


class SourceWorker:
    """Runs one source; `run` it, `stop` it. `at_rest`: it has ended and all is committed, or another owns it."""

    def __init__(self, spec: StageSpec, config: SourceConfig, context: WorkerContext, counters: StageCounters) -> None:
        self._spec = spec
        self._config = config
        self._context = context
        self._counters = counters
        self._retry_policy = RetryPolicy(spec.name)
        self._targets = Targets(context.topology.parts(spec.source_to), spec.dead_key)
        self._implicit = {stream.name for stream in self._targets.streams if stream.implicit}
        self._ingest = Ingest(spec, config, self._targets)
        self._task: asyncio.Task[None] | None = None
        self._lease: Lease | None = None
        self._was_open = self._is_open = False
        self.at_rest = False

    async def run(self) -> None:
        """Read until the source ends; raises what ends the pipeline."""
        self._task = asyncio.current_task()
        bind(stage=self._spec.name)
        silence: float | None = None
        try:
            while not self._context.stopping.is_set():
                self._lease = await self._take(silence)
                self.at_rest = self._lease is None
                if self._lease is None:
                    self._context.activity.set()
                    await self._context.rest(self._spec.settings.claim_after / 3)
                    continue
                try:
                    await self._read_to_the_end(self._lease)
                except FencedError as exc:
                    _log.warning("%s: %s; standing by", self._spec.name, exc)
                    silence = self._spec.settings.claim_after
                else:
                    self.at_rest = True
                    self._context.activity.set()
                    await self._until_forgotten(self._lease)
        except asyncio.CancelledError:
            if not self._context.stopping.is_set():
                raise
        finally:
            self._context.activity.set()

    async def stop(self) -> None:
        """End between two commits; what was read and not committed will be read again."""
        if self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Let another process take the source over at once."""
        if self._lease is not None:
            await self._context.leases.release(self._lease)

    async def _take(self, silence: float | None) -> Lease | None:
        leases, key = self._context.leases, self._spec.source_lease
        return await self._retry_policy.keep_trying(lambda: leases.take(key, wait_for=silence))

    async def _until_forgotten(self, lease: Lease) -> None:
        """Return if the server loses the lease of a source that has ended: it does not know of that end any more.

        Without its word for it no run would ever be drained. What was lost with it is read again.
        """
        while not self._context.stopping.is_set():
            await self._context.rest(LOOK_AGAIN_SECONDS)
            if not await self._retry_policy.keep_trying(lambda: self._context.leases.is_known(lease)):
                _log.warning("%s: the server lost %s; reading the source again", self._spec.name, lease.key)
                return

    async def _read_to_the_end(self, lease: Lease) -> None:
        """Read all, reopening the source as often as needed; raises ConnectorError if that does not help."""
        beat = self._context.leases.beat
        retries = ConnectorRetries(
            self._spec.name, self._spec.settings, self._context, self._counters,
            lambda: self._retry_policy.keep_trying(lambda: beat(lease)),
        )  # fmt: skip
        while not self._context.stopping.is_set():
            try:
                return await self._read_all(lease, retries)
            except ConnectorError as exc:
                if not (self._was_open or isinstance(exc, TransientError)):
                    raise
                await retries.wait(exc, opening=not self._is_open)
        return None

    async def _read_all(self, lease: Lease, retries: ConnectorRetries) -> None:
        self._is_open = False
        source = self._config.open(self._context.topology.connector_context(self._spec.name))
        committing: asyncio.Task[None] | None = None
        try:
            if isinstance(source, SourceOfParts):
                source.restore(await self._retry_policy.keep_trying(lambda: self._context.leases.parts(lease)))
            start = await source.start(lease.checkpoint)
            await self._retry_policy.keep_trying(lambda: self._context.leases.move(lease, start))
            self._was_open = self._is_open = True
            beat_at = 0.0
            while True:
                await self._context.gates.room(self._spec.source_to)
                while self._context.pauses.holds(self._spec.name) and not self._context.stopping.is_set():
                    await self._context.rest(1.0)
                portion = await source.read(self._spec.settings.batch_size)
                if committing is not None:
                    await committing
                    committing = None
                if portion.items or portion.done or portion.parts:
                    committing = asyncio.create_task(self._commit(lease, portion, source, retries))
                else:
                    retries.fine()
                    beat_at = await self._beat_from(beat_at, lease)
                if portion.done:
                    break
            if committing is not None:
                await committing
        finally:
            if committing is not None and not committing.done():
                await asyncio.wait([committing])  # a commit that was sent is finished: then it is counted, too
            await source.close()

    async def _beat_from(self, beat_at: float, lease: Lease) -> float:
        """Say that the owner is alive, if it is time to; returns when it will be again."""
        if (now := asyncio.get_running_loop().time()) <= beat_at:
            return beat_at
        await self._retry_policy.keep_trying(lambda: self._context.leases.beat(lease))
        return now + self._spec.settings.claim_after / 3

    async def _commit(self, lease: Lease, portion: Portion, source: OpenSource, retries: ConnectorRetries) -> None:
        """Commit a portion; repeating it after a lost reply is harmless, its number says that it was done."""
        found = self._ingest.entries(portion)
        await self._retry_policy.keep_trying(
            lambda: self._context.leases.ingest(
                lease,
                targets=self._targets.keys,
                records=found.entries,
                read=len(portion.items),
                checkpoint=portion.checkpoint,
                done=portion.done,
                parts=portion.parts,
            )
        )
        self._counters.read += len(portion.items)
        self._counters.dead += found.dead
        entries = self._targets.by_name(found.for_each())
        for name in self._spec.source_to:
            if name not in self._implicit:
                self._counters.emitted[name] += found.good
            self._context.gates.spend(name, entries.get(name, 0))
        if isinstance(source, AcknowledgedSource):
            await source.committed(portion.checkpoint)
        retries.fine()  # not before: it may be `committed` that fails, each time
