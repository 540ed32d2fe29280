"""Counts of one run, by stage: what came in, what became of it. Nothing is dropped without a count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

from papyra_flow.histograms import Histogram
from papyra_flow.observe.timings import Timings


@dataclass(slots=True)
class StageCounters:
    """What one stage did in this run; the names are those of `run --json`."""

    read: int = 0
    emitted: Counter[str] = field(default_factory=Counter)
    written: int = 0
    dropped: int = 0
    retried: int = 0
    dead: int = 0
    claimed: int = 0
    stale: int = 0
    late: int = 0
    """Records whose window had closed."""
    lost: int = 0
    """Entries that were gone before they were processed, as the run audits count them, and records that others took
    from where a sink had written them."""
    own: Counter[str] = field(default_factory=Counter)
    """What step functions counted, by their own names (`Context.count`)."""
    own_durations: dict[str, Histogram] = field(default_factory=dict)
    """What they timed (`Context.timer`)."""
    own_values: dict[str, Histogram] = field(default_factory=dict)
    """What they measured (`Context.observe`)."""
    away: str = field(default="", compare=False)
    """What a connector that is waited for said last; empty where none is."""
    timings: Timings = field(default_factory=Timings, compare=False, repr=False)

    def add(self, other: StageCounters) -> None:
        """Add another process' counts."""
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.emitted.update(other.emitted)
        self.own.update(other.own)
        for mine, theirs in ((self.own_durations, other.own_durations), (self.own_values, other.own_values)):
            for name, histogram in list(theirs.items()):
                mine.setdefault(name, Histogram(histogram.bounds)).add(histogram.counts, histogram.sum)
        self.away = self.away or other.away
        self.timings.add(other.timings)

    def as_json(self) -> dict[str, object]:
        """The counts under their names in the command line's contract."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        own = {"own": dict(sorted(self.own.items()))} if self.own else {}
        measured = {
            key: {name: {"count": one.count, "sum": one.sum} for name, one in sorted(histograms.items())}
            for key, histograms in (("own_durations", self.own_durations), ("own_values", self.own_values))
            if histograms
        }
        return {"read": self.read, "emitted": dict(sorted(self.emitted.items())), **numbers, **own, **measured}


NUMBERS = tuple(count.name for count in fields(StageCounters) if count.default == 0)
"""The counts that are plain numbers, in their order."""


@dataclass(slots=True)
class RunCounters:
    """What all stages of this process did."""

    stages: dict[str, StageCounters]

    @classmethod
    def of(cls, stages: list[str]) -> RunCounters:
        """Counters at zero for these stages."""
        return cls({name: StageCounters() for name in stages})

    def add(self, other: RunCounters) -> None:
        """Add another process' counts."""
        for name, counters in other.stages.items():
            self.stages.setdefault(name, StageCounters()).add(counters)

    @property
    def anything(self) -> bool:
        """Whether anything was counted at all."""
        return any(counters != StageCounters() for counters in self.stages.values())

    @property
    def dead(self) -> int:
        """Dead letters of all stages."""
        return sum(counters.dead for counters in self.stages.values())

    @property
    def lost(self) -> int:
        """Entries and records that all stages lost."""
        return sum(counters.lost for counters in self.stages.values())
