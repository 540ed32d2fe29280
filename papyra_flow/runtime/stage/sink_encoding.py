"""A batch on its way to a sink: records in the sink's own form, as it says itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from papyra_flow.connectors.base import Encode
from papyra_flow.error_text import error_of
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Record
from papyra_flow.records.rows import Rows
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.processing import Processed
from papyra_flow.streams.commit.commit import NOWHERE


def encoded(encode: Encode, record: Record, raw: bytes | None = None) -> bytes:
    """A record as the sink writes it; raises RecordError for one that it cannot write."""
    try:
        return encode(record, raw)
    except (ValueError, TypeError, RecursionError, OverflowError) as exc:  # a value that the format has not
        raise RecordError(f"the record cannot be written: {error_of(exc)}") from exc


class SinkStoppedError(ConnectorError):
    """The sink cannot continue: unlike what a step raises, this is not a record's failure."""


def all_encoded(encode: Encode, records: Iterable[Record]) -> list[bytes]:
    """Records as the sink writes them; raises RecordError for one that it cannot write, and SinkStoppedError."""
    try:
        return [encoded(encode, record) for record in records]
    except ConnectorError as exc:
        raise SinkStoppedError(str(exc)) from exc


def to_sink(batch: Batch, processed: Processed, encode: Encode) -> Outcome:
    """What records that were processed become in a sink."""
    rows, failures = processed.rows or Rows([], ()), dict(processed.failures)
    data = batch.values() if processed.raw else None
    payloads: list[tuple[int, bytes]] = []
    for origin, record in zip(rows.origins, rows.records, strict=True):
        try:
            payloads.append((origin, encoded(encode, record, data[origin] if data is not None else None)))
        except RecordError as exc:
            failures[origin] = exc
    if failures:
        payloads = [pair for pair in payloads if pair[0] not in failures]
    written = {place for place, _ in payloads}
    if len(written) == len(batch):
        return Outcome(done=batch.ids, payloads=payloads)
    dropped = [place for place in range(len(batch)) if place not in written and place not in failures]
    return Outcome(
        ids=_ids(batch, dropped), targets=[NOWHERE] * len(dropped), data=[b""] * len(dropped),
        done=_ids(batch, sorted(written)), payloads=payloads, failures=failures,
    )  # fmt: skip


def _ids(batch: Batch, places: Sequence[int]) -> list[bytes]:
    return [batch.ids[place] for place in places]
