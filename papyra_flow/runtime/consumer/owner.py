"""The owner of one partition: a consumer that ends when the partition is not its own any more."""

from __future__ import annotations

import asyncio
import logging

from papyra_flow.errors import FencedError, GroupGoneError, GroupMovedError
from papyra_flow.observe.logs import bind
from papyra_flow.runtime.commit.delivery import Delivery
from papyra_flow.runtime.commit.owned_delivery import OwnedDelivery
from papyra_flow.runtime.commit.sink_writer import SinkWriter
from papyra_flow.runtime.consumer.care import Trying
from papyra_flow.runtime.consumer.group_repair import repair_group
from papyra_flow.runtime.consumer.loop import Consumer
from papyra_flow.runtime.consumer.owned import OwnedReader
from papyra_flow.runtime.consumer.reader import Reader
from papyra_flow.runtime.services.partition_state import PartitionState
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.ownership import Ownership

_log = logging.getLogger("papyra_flow.stage")


class PartitionOwner(Consumer):
    """Works on one partition of a stage; `run` returns when it is to stop, or has lost the partition."""

    def __init__(
        self, stage: StageRuntime, name: str, ownership: Ownership, state: PartitionState | None, trying: Trying
    ) -> None:
        self.ownership = ownership
        self._trying = trying
        self.state = state
        super().__init__(stage, name)
        if stage.spec.sink is None:
            self._delivery = self._new_delivery(None)

    def _new_reader(self) -> Reader:
        return OwnedReader(self.stage, self.ownership, self.state, self._wakeup, self._settle, self._trying)

    def _new_delivery(self, sink: SinkWriter | None) -> Delivery:
        return OwnedDelivery(self.stage, self.ownership, self.state, sink)

    async def _settle(self) -> None:
        await self._commits.finish()

    async def run(self) -> None:
        """As `Consumer.run`; what ends the ownership ends this, and is told."""
        self._task = asyncio.current_task()
        bind(stage=self.stage.name, consumer=self.name)
        await self._reader.start()
        try:
            await self._open()
            await self._consume()
        except FencedError as exc:
            if not self._stopping:
                _log.warning("%s: %s; standing by", self.stage.name, exc)
        except GroupMovedError as exc:
            _log.warning("%s: the group was moved by hand, to %s; going on from there", self.stage.name, exc)
        except GroupGoneError:
            await self.stage.retry_policy.keep_trying(lambda: repair_group(self.stage))
        finally:
            self._wakeup.close()
            if self._owner is not None:
                await self._owner.close()
            await self._reader.leave()

    def end_of_input(self) -> None:
        """All of the input has arrived: what is open closes."""
        if self.state is not None:
            self.state.end()
            self._wakeup.ring()
