"""What is timed of a stage's batches, and the stamp that one record a second carries from the first stage to the last.

Ids hold the server's clock, so latencies are measured by the server's clock: `ServerClock` knows how far ours is from
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from papyra_flow.histograms import Histogram
from papyra_flow.observe.timings import Timings
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import parse_id
from papyra_flow.streams.commit.commit import Commit

STAMP = b"added"
"""The header that holds when the first stage's entry was added, in milliseconds since 1970."""

EVERY_SECONDS = 1.0


class ServerClock:
    """The server's clock, as we know it since we last asked for it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self.known = False

    def learn(self, now: float, asked: float) -> None:
        """The server, which was `asked` at that time of our monotonic clock, said that it is `now`."""
        self._ahead = now - (asked + time.monotonic()) / 2
        self.known = True

    @property
    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""
        return time.monotonic() + self._ahead


class StageTiming:
    """One stage's in one process; `marks` are the numbers of the targets whose records can carry a stamp."""

    def __init__(
        self,
        timings: Timings,
        clock: ServerClock,
        *,
        first: bool,
        last: bool,
        marks: Collection[int],
        record: Callable[[str, float], None] | None = None,
    ) -> None:
        """`record` gets every value by the name of its distribution, too."""
        self._timings = timings
        self._record = record
        self._clock = clock
        self._first = first
        self._last = last
        self._marks = marks if first and not last else ()
        self._next_mark = 0.0

    def processed(self, batch: Batch, seconds: float) -> None:
        """A batch went through the steps."""
        self._observe("batch", self._timings.batch, len(batch))
        self._observe("process", self._timings.process, seconds)

    def mark(self, batch: Batch, commit: Commit) -> None:
        """Put the stamp on one of the records that leave, once a second."""
        if self._marks and batch.ids and (now := time.monotonic()) >= self._next_mark:
            added, _ = parse_id(batch.ids[0])
            if commit.mark(STAMP, b"%d" % added, self._marks):
                self._next_mark = now + EVERY_SECONDS

    def committed(self, batch: Batch, seconds: float) -> None:
        """A batch was committed."""
        self._observe("commit", self._timings.commit, seconds)
        if not self._clock.known or not batch.ids:
            return
        now = self._clock.now
        added, _ = parse_id(batch.ids[0])
        latency = max(0.0, now - added / 1000)
        self._observe("latency", self._timings.latency, latency)
        if self._last and self._first:
            self._observe("end_to_end", self._timings.end_to_end, latency)
        elif self._last and batch.plain() is None:
            for stamp in _stamps(batch):
                self._observe("end_to_end", self._timings.end_to_end, max(0.0, now - stamp / 1000))

    def _observe(self, name: str, histogram: Histogram, value: float) -> None:
        histogram.observe(value)
        if self._record is not None:
            self._record(name, value)


def _stamps(batch: Batch) -> list[int]:
    found = []
    for fields in batch.fields:
        for place in range(0, len(fields), 2):
            if fields[place] == STAMP and fields[place + 1].isdigit():
                found.append(int(fields[place + 1]))
    return found
