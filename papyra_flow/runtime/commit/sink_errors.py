"""A sink's write, with what its errors lead to: wait and write again, dead letters for some records, or the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from papyra_flow.connectors.base import OpenSink
from papyra_flow.errors import ConnectorError, FencedError, RecordError, RecordsError, TransientError
from papyra_flow.records.batch import Batch
from papyra_flow.runtime.services.connector_retries import ConnectorRetries


@dataclass(frozen=True, slots=True)
class Written:
    """What a sink wrote: the checkpoint after it, and why it was refused records, by their place in the call."""

    checkpoint: str
    refused: Mapping[int, Exception] = field(default_factory=dict)


class StoppedError(FencedError):
    """The process is to stop while a sink is away: what was not written is given back to the group."""


async def write(
    sink: OpenSink,
    payloads: Sequence[tuple[bytes, bytes]],
    batch: Batch,
    retries: ConnectorRetries,
    stopping: Callable[[], bool],
) -> Written:
    """Write until it is done; raises ConnectorError if that does not help, StoppedError if the process is to stop."""
    origin = origins(batch)
    while True:
        try:
            checkpoint = await sink.write(payloads, origin)
        except RecordsError as exc:
            retries.fine()
            return Written(exc.checkpoint, _refused(exc, len(payloads)))
        except ConnectorError as exc:
            await retries.wait(exc)
            if stopping():
                raise StoppedError(f"stopping while the sink is unavailable: {exc}") from exc
        else:
            retries.fine()
            return Written(checkpoint)


async def opened(start: Callable[[], Awaitable[None]], retries: ConnectorRetries, stopping: Callable[[], bool]) -> None:
    """Start a sink, and wait for one that is away; raises what waiting does not cure."""
    while True:
        try:
            return await start()
        except ConnectorError as exc:
            if not isinstance(exc, TransientError):
                raise
            await retries.wait(exc)
            if stopping():
                raise StoppedError(f"stopping while the sink is unavailable: {exc}") from exc


def origins(batch: Batch) -> Callable[[bytes], str]:
    """The stream and id that an entry of a batch had first, by the id that it has; made when it is asked for."""
    known: dict[bytes, str] = {}

    def origin(entry_id: bytes) -> str:
        if not known:
            for place, one in enumerate(batch.ids):
                key, first, _ = batch.entry(place).origin
                known[one] = f"{key}/{first.decode()}"
        return known[entry_id]

    return origin


def _refused(exc: RecordsError, count: int) -> dict[int, Exception]:
    """Each refusal as the failure of a record; raises ConnectorError for a place that was not in the call."""
    for number in exc.failures:
        if not 0 <= number < count:
            raise ConnectorError(f"the sink refused record {number} of {count}: indexes start at 0") from exc
    return {
        number: reason if isinstance(reason, Exception) else RecordError(str(reason))
        for number, reason in exc.failures.items()
    }
