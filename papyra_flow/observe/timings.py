"""Distributions of what a stage does: how long it takes, how many at once; counted by batch.

A batch costs a few bisections, a record nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from papyra_flow.histograms import RECORDS, SECONDS, Histogram


def _seconds() -> Histogram:
    return Histogram(SECONDS)


@dataclass(slots=True)
class Timings:
    """A stage's distributions; each field's metadata says what it is."""

    batch: Histogram = field(default_factory=lambda: Histogram(RECORDS))
    """Entries in a batch."""
    process: Histogram = field(default_factory=_seconds)
    """Seconds that a batch takes in the steps."""
    commit: Histogram = field(default_factory=_seconds)
    """Seconds that a batch's commit takes."""
    latency: Histogram = field(default_factory=_seconds)
    """Seconds from the XADD of a batch's oldest entry to its ack."""
    end_to_end: Histogram = field(default_factory=_seconds)
    """Seconds from the first stage's entry to the last stage's ack, of one record per second."""

    def each(self) -> Iterator[tuple[str, Histogram]]:
        """The distributions by name."""
        for one in fields(self):
            yield one.name, getattr(self, one.name)

    def add(self, other: Timings) -> None:
        """Add another process' distributions."""
        for (_, mine), (_, theirs) in zip(self.each(), other.each(), strict=True):
            mine.add(theirs.counts, theirs.sum)
