"""What a run is asked to do, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from papyra_flow.errors import PapyraFlowError
from papyra_flow.observe.counters import RunCounters
from papyra_flow.streams.commit.append_only import REWRITE_BELOW

Outcome = Literal["drained", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`stages` are this machine's share (all if None); `drain` is over what the pipeline itself suggests."""

    stages: tuple[str, ...] | None = None
    processes: int = 1
    drain: bool | None = None
    consumer_name: str | None = None
    rewrite_below: int = REWRITE_BELOW
    """Bytes of a server's memory up to which its append-only file is rewritten before the first commit."""
    owned: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Epoch and owner of the sources' leases before the run: while they are the same, `done` is of the run before."""


@dataclass(frozen=True, slots=True)
class Share:
    """One process' part of a run: number `index` of `total`."""

    index: int = 0
    total: int = 1


@dataclass(slots=True)
class RunResult:
    """How a run ended, and what it did."""

    outcome: Outcome
    seconds: float
    counters: RunCounters
    streams: dict[str, dict[str, int]]
    """For each stream its `length` and `backlog` at the end."""
    error: PapyraFlowError | None = None
    """What ended the run before its time."""
