"""Writing a batch to a sink before it is acknowledged: what a delivery does where its stage has a sink.

For an exclusive sink the acks and the sink's checkpoint are one commit, all or nothing: a crash in between leaves the
entries pending, and the next start takes back what was written for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.connectors.base import Encode, Sink
from papyra_flow.streams.commit.lease import Lease
from papyra_flow.streams.commit.operations import MoveCheckpoint


class SinkWriter:
    """An opened sink, with the lease of its owner where it has only one."""

    def __init__(self, sink: Sink, lease: Lease | None) -> None:
        self._sink = sink
        self._lease = lease
        self.encode: Encode = sink.encode

    async def write(self, payloads: Sequence[tuple[bytes, bytes]]) -> MoveCheckpoint | None:
        """Make what entries became durable; returns what their commit has to move with it. Raises ConnectorError."""
        checkpoint = await self._sink.write(payloads)
        if self._lease is None:
            return None
        return MoveCheckpoint(self._lease.key, self._lease.epoch, self._lease.checkpoint, checkpoint)

    def committed(self, moved: MoveCheckpoint | None) -> None:
        """What was written last is committed: the next batch goes behind it."""
        if self._lease is not None and moved is not None:
            self._lease.checkpoint = moved.after
        self._sink.committed()
