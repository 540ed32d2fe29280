"""From a batch's bytes to records: all at once where nothing is wrong, else entry by entry to find what is."""

from __future__ import annotations

from collections.abc import Callable

from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import CODECS, Record, decode_all, headers_of, refuse_large
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Failures, Rows
from papyra_flow.topology.streams import StreamSpec


class Decoder:
    """How entries of a stage's streams become records; larger ones than `max_record` are refused."""

    def __init__(self, streams: list[StreamSpec], max_record: int) -> None:
        self._fields = {stream.key for stream in streams if stream.config.format == "fields"}
        self._max_record = max_record

    def decode(self, batch: Batch, failures: Failures) -> Rows:
        """The records of a batch; `failures` gets what is none."""
        if batch.key not in self._fields and (values := self._at_once(batch)) is not None:
            return Rows(values, range(len(values)))
        decode = CODECS["fields" if batch.key in self._fields else "json"].decode
        records: list[Record] = []
        origins: list[int] = []
        for place, fields in enumerate(batch.fields):
            try:
                refuse_large(len(fields[1]) if len(fields) == 2 else sum(map(len, fields)), self._max_record)
                records.append(decode(fields))
                origins.append(place)
            except RecordError as exc:
                failures[place] = exc
        return Rows(records, origins)

    def takes_bytes(self, batch: Batch) -> bool:
        """Whether the field `data` of an entry holds all of its record; elsewhere it may be a field like any other."""
        return batch.key not in self._fields

    def headers(self, batch: Batch) -> Callable[[int], Headers]:
        """The headers of an entry, by its place; where an entry's fields are the record there are none."""
        if batch.key in self._fields:
            return lambda _: Headers()
        return lambda place: Headers.of(headers_of(batch.fields[place]))

    def _at_once(self, batch: Batch) -> list[Record] | None:
        data = batch.plain()
        if data is None or max(map(len, data)) > self._max_record:
            return None
        return decode_all(data)
