"""What is timed of a stage's batches, and the stamp that one record a second carries from the first stage to the last.

Ids hold the server's clock, so latencies are between the server's own moments: `ServerClock` knows how far ours is from
it. What does not live here: the distributions (`papyra_flow.observe.histograms`).
"""

from __future__ import annotations

import time
from collections.abc import Collection

from papyra_flow.observe.histograms import Timings
from papyra_flow.streams.batch import Batch
from papyra_flow.streams.commit import Commit
from papyra_flow.streams.entries import parse_id

STAMP = b"ts"
"""The header that holds when the first stage's entry was added, in milliseconds since 1970."""

EVERY_SECONDS = 1.0


class ServerClock:
    """The server's clock, as we know it since we last asked for it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self.known = False

    def learn(self, now: float) -> None:
        """The server said that it is `now`, in seconds since 1970."""
        self._ahead = now - time.monotonic()
        self.known = True

    @property
    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""
        return time.monotonic() + self._ahead


class Stopwatch:
    """One stage's in one process; `marks` are the numbers of the targets whose records can carry a stamp."""

    def __init__(
        self, timings: Timings, clock: ServerClock, *, first: bool, last: bool, marks: Collection[int]
    ) -> None:
        self._timings = timings
        self._clock = clock
        self._first = first
        self._last = last
        self._marks = marks if first and not last else ()
        self._next_mark = 0.0

    def processed(self, batch: Batch, seconds: float) -> None:
        """A batch went through the steps."""
        self._timings.batch.observe(len(batch))
        self._timings.process.observe(seconds)

    def mark(self, batch: Batch, commit: Commit) -> None:
        """Put the stamp on one of the records that leave, once a second."""
        if self._marks and (now := time.monotonic()) >= self._next_mark:
            added, _ = parse_id(batch.ids[0])
            if commit.mark(STAMP, b"%d" % added, self._marks):
                self._next_mark = now + EVERY_SECONDS

    def committed(self, batch: Batch, seconds: float) -> None:
        """A batch was committed."""
        self._timings.commit.observe(seconds)
        if not self._clock.known or not batch.ids:
            return
        now = self._clock.now
        added, _ = parse_id(batch.ids[0])
        latency = max(0.0, now - added / 1000)
        self._timings.latency.observe(latency)
        if self._last and self._first:
            self._timings.end_to_end.observe(latency)
        elif self._last and batch.plain() is None:
            for stamp in _stamps(batch):
                self._timings.end_to_end.observe(max(0.0, now - stamp / 1000))


def _stamps(batch: Batch) -> list[int]:
    found = []
    for fields in batch.fields:
        for place in range(0, len(fields), 2):
            if fields[place] == STAMP and fields[place + 1].isdigit():
                found.append(int(fields[place + 1]))
    return found
