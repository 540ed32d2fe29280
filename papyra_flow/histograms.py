"""Distributions: values counted in buckets, which are those of Prometheus' histograms.

https://prometheus.io/docs/concepts/metric_types/#histogram.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
RECORDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
VALUES = (*(digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)), 1e6)
"""For values of any kind, so that a median is right to a factor of about two from 0.001 to a million."""


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
