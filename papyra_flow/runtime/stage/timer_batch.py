"""Timers that go off, on their way through a stage as a batch: each stands where an entry does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import DATA, Entry, encode_json
from papyra_flow.records.rows import Rows
from papyra_flow.state.store import Timer


class TimerBatch(Batch):
    """Timers as a batch; `tries` is how often the first of them was tried, this time included."""

    __slots__ = ("timers",)

    def __init__(self, key: str, timers: Sequence[Timer], tries: int = 1) -> None:
        """`key` is that of a stream that the stage reads: dead letters of timers are said to be from there."""
        ids = [b"%d-%d" % (max(0, timer.at), number) for number, timer in enumerate(timers)]
        fields = [(DATA, timer.member) for timer in timers]
        super().__init__(key, ids, fields, [tries, *([1] * (len(timers) - 1))])
        self.timers = timers

    def show(self, rows: Rows) -> None:
        """Have each timer of which a record came stand for that, should it be dead."""
        fields = list(self.fields)
        for origin, record in zip(rows.origins, rows.records, strict=True):
            with suppress(RecordError):
                fields[origin] = (DATA, encode_json(record))
        self.fields = fields

    def part(self, start: int, end: int) -> TimerBatch:
        """As `Batch.part`."""
        return TimerBatch(self.key, self.timers[start:end], self.entry(start).deliveries if start < end else 1)


def rest_of(batch: Batch, again: Sequence[Entry]) -> Batch:
    """What is to be tried again of a batch that goes in order: its last entries, or its last timers."""
    if isinstance(batch, TimerBatch):
        return TimerBatch(batch.key, batch.timers[-len(again) :], again[0].deliveries)
    return Batch.of(again)
