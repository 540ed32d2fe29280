"""Writing a batch to a sink before it is acknowledged: what a delivery does where its stage has a sink.

For an exclusive sink the acks and the sink's checkpoint are one commit, all or nothing: a crash in between leaves the
entries pending, and the next start takes back what was written for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from papyra_flow.connectors.base import Encode, OpenSink
from papyra_flow.records.batch import Batch
from papyra_flow.runtime.commit.sink_errors import write
from papyra_flow.runtime.services.connector_retries import ConnectorRetries
from papyra_flow.streams.commit.lease import Lease
from papyra_flow.streams.commit.operations import MoveCheckpoint


class SinkWriter:
    """An opened sink, with the lease of its owner where it has only one."""

    def __init__(
        self, sink: OpenSink, lease: Lease | None, retries: ConnectorRetries, stopping: Callable[[], bool]
    ) -> None:
        self._sink = sink
        self._lease = lease
        self._retries = retries
        self._stopping = stopping
        self.encode: Encode = sink.encode

    async def write(
        self, batch: Batch, payloads: Sequence[tuple[bytes, bytes]]
    ) -> tuple[MoveCheckpoint | None, Mapping[int, Exception]]:
        """Make what entries became durable; returns what their commit has to move with it, and what was refused.

        That is by the place of the payload: all others were written. Raises ConnectorError if waiting does not help.
        """
        written = await write(self._sink, payloads, batch, self._retries, self._stopping)
        if self._lease is None:
            return None, written.refused
        lease = self._lease
        return MoveCheckpoint(lease.key, lease.epoch, lease.checkpoint, written.checkpoint), written.refused

    def committed(self, moved: MoveCheckpoint | None) -> None:
        """What was written last is committed: the next batch goes behind it."""
        if self._lease is not None and moved is not None:
            self._lease.checkpoint = moved.after
        self._sink.committed()
