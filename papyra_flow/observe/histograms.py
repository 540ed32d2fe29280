"""Distributions of what a stage does: how long it takes, how many at once; counted in buckets, by batch.

A batch costs a few bisections, a record nothing. The buckets are those of Prometheus' histograms
(https://prometheus.io/docs/concepts/metric_types/#histogram).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
RECORDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)


@dataclass(slots=True)
class Histogram:
    """Values counted by their upper bounds, the last count being for all beyond the last bound."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add what was counted elsewhere, with the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, counts, strict=True)]
        self.sum += total

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The value that this share of all is below, between its bucket's bounds in proportion; None without values."""
        wanted, before = share * self.count, 0
        for place, count in enumerate(self.counts):
            if count and before + count >= wanted:
                low = self.bounds[place - 1] if place else 0.0
                high = self.bounds[place] if place < len(self.bounds) else self.bounds[-1]
                return low + (high - low) * (wanted - before) / count
            before += count
        return None


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
    """Seconds from the first stage's entry to the last stage's ack, of a record a second."""

    def each(self) -> Iterator[tuple[str, Histogram]]:
        """The distributions by name."""
        for one in fields(self):
            yield one.name, getattr(self, one.name)

    def add(self, other: Timings) -> None:
        """Add another process' distributions."""
        for (_, mine), (_, theirs) in zip(self.each(), other.each(), strict=True):
            mine.add(theirs.counts, theirs.sum)
