"""A stage of a driven pipeline: its own program and delivery do the work, and what they would commit is taken down.

A stage whose partitions have owners has a lane for each of them, with the state, the watermark and the order of a run;
any other has one for each stream that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from papyra_flow.connectors.base import Encode
from papyra_flow.errors import PipelineFailedError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Entry, Record, encode_json
from papyra_flow.records.json_codec import read_json
from papyra_flow.runtime.commit.delivery import Delivery
from papyra_flow.runtime.commit.owned_delivery import OwnedDelivery
from papyra_flow.runtime.commit.prepared import Prepared
from papyra_flow.runtime.services.partition_state import PartitionState
from papyra_flow.runtime.stage.opening import open_state
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.runtime.stage.timer_batch import TimerBatch, rest_of
from papyra_flow.streams.commit.ownership import Ownership, PartitionKeys
from papyra_flow.testing.memory_state import MemoryState
from papyra_flow.testing.places import Cursor, Places


class DrivenStage:
    """A stage that reads streams; `work` takes it as far as it goes."""

    def __init__(self, runtime: StageRuntime, places: Places) -> None:
        self.spec = runtime.spec
        self.program = runtime.program
        self._runtime = runtime
        self._places = places
        self.written: list[Record] = []
        self.letters: list[Entry] = []
        self.states: dict[str, MemoryState] = {}
        """What it keeps, by the key that it has on a server."""
        topology = runtime.context.topology
        self._encode: Encode | None = None
        if (sink := self.spec.sink) is not None:
            self._encode = _as_json(sink.encoder(topology.connector_context(self.spec.name)))
        self.lanes: Sequence[Lane] = self._owned() if self.spec.owned else self._shared()

    def _shared(self) -> list[Lane]:
        found: dict[str, list[str]] = {}
        for stream in self._runtime.inputs:
            found.setdefault(stream.of, []).append(stream.key)
        delivery = Delivery(self._runtime, "driver")
        return [Lane(self, delivery, Cursor(self._places, keys)) for keys in found.values()]

    def _owned(self) -> list[Lane]:
        partitions = self._runtime.context.topology.partitions(self.spec)
        self.states = {keys.state: MemoryState() for keys in partitions}
        return [OwnedLane(self, self._runtime, keys, self._places, self.states[keys.state]) for keys in partitions]

    async def work(self, *, ending: bool = False) -> None:
        """Process all that is there, and what is due; `ending` is whether nothing will come any more."""
        for lane in self.lanes:
            await lane.work()
        if ending and self.spec.closes:
            for lane in self.lanes:
                lane.end()
                await lane.work()

    async def run(self, delivery: Delivery, batch: Batch) -> Prepared:
        """Process a batch, and take down what it became; raises PipelineFailedError where the stage halts."""
        delivery.encode = self._encode
        prepared = await delivery.work(batch)
        self.written += [read_json(payload) for _, payload in prepared.outcome.for_sink()]
        targets = self._runtime.targets
        for target, fields in prepared.commit.outcomes():
            if target == targets.dead:
                self.letters.append(self._places.entry(self.spec.dead_key, fields))
            else:
                self._places.add(targets.streams[target].key, fields)
        return prepared

    def refuse_to_halt(self, prepared: Prepared) -> None:
        """Raise what halts the stage, if anything does."""
        if prepared.fate.halted is not None:
            _, exc = prepared.fate.halted
            raise PipelineFailedError(f"the stage {self.spec.name!r} halts: {exc}") from exc


class Lane:
    """One way through a stage, in which batches go one after the other."""

    def __init__(self, stage: DrivenStage, delivery: Delivery, cursor: Cursor) -> None:
        self._stage = stage
        self._delivery = delivery
        self._cursor = cursor

    async def work(self) -> None:
        """Process all that is there; what is to be tried again is so at once."""
        while (batch := await self._next()) is not None:
            rest: Batch | None = batch
            while rest is not None:
                prepared = await self._stage.run(self._delivery, rest)
                self._committed(prepared)
                self._stage.refuse_to_halt(prepared)
                rest = self._rest(prepared)

    @property
    def goes_on_at(self) -> float:
        """When something may become due by itself, in seconds on the driver's clock."""
        return float("inf")

    def end(self) -> None:
        """All of the input has arrived."""

    async def _next(self) -> Batch | None:
        entries = self._cursor.take(self._stage.spec.settings.batch_size)
        return Batch.of(entries) if entries else None

    def _committed(self, prepared: Prepared) -> None:
        """Its commit is done."""

    def _rest(self, prepared: Prepared) -> Batch | None:
        again = [*(entry for entry, _ in prepared.fate.again), *prepared.fate.later]
        return Batch.of([Entry(e.key, e.id, e.fields, e.deliveries + 1) for e in again]) if again else None


class OwnedLane(Lane):
    """A partition of a stage with owners: what `OwnedReader` reads, in the same order."""

    def __init__(
        self, stage: DrivenStage, runtime: StageRuntime, keys: PartitionKeys, places: Places, kept: MemoryState
    ) -> None:
        ownership = Ownership(keys, 0, 0, dict.fromkeys(keys.streams, b"0-0"), {})
        self._kept = kept
        self._places = places
        self._names = {key: runtime.stream_of[key] for key in keys.streams if key not in runtime.replay_keys}
        self._state: PartitionState | None = open_state(runtime, ownership, self._kept, _nothing_held, self._now)
        self._first_key = keys.streams[0]
        super().__init__(stage, OwnedDelivery(runtime, ownership, self._state), Cursor(places, keys.streams))

    @property
    def _now(self) -> float:
        return self._places.now / 1000

    @property
    def goes_on_at(self) -> float:
        """As `Lane.goes_on_at`: where inputs are idle."""
        return self._state.goes_on_at if self._state is not None else float("inf")

    def end(self) -> None:
        """As `Lane.end`: what is open closes."""
        if self._state is not None:
            self._state.end()

    async def _next(self) -> Batch | None:
        state = self._state
        while True:
            if state is not None and state.fires and (timers := await state.due()):
                return TimerBatch(self._first_key, timers)
            if (batch := await super()._next()) is not None:
                if state is not None and state.idleness is not None:
                    state.idleness.arrived(self._names[batch.key], self._now)
                return batch
            if state is None or state.idleness is None or state.idle_at > self._now:
                return None
            await state.idleness.look(self._now)

    def _committed(self, prepared: Prepared) -> None:
        if self._state is not None and prepared.changes is not None:
            self._kept.commit(prepared.changes.operations)
            self._state.store.settled(prepared.changes)

    def _rest(self, prepared: Prepared) -> Batch | None:
        again = [entry for entry, _ in prepared.fate.again]
        return rest_of(prepared.whole, again) if again else None


async def _nothing_held() -> bool:
    """Stages before this one have processed all that there is."""
    return False


def _as_json(encode: Encode) -> Encode:
    """JSON of what a sink writes, to be read again here; what the sink itself refuses fails as in a run."""

    def encoded(record: Record, raw: bytes | None) -> bytes:
        encode(record, raw)
        return encode_json(record)

    return encoded
