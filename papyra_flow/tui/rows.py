"""Figures as the cells of a table on a terminal."""

from __future__ import annotations

from rich.text import Text

from papyra_flow.drawing.theme import LOOKS
from papyra_flow.observe.figures import Snapshot, alarming
from papyra_flow.spec.units import format_duration
from papyra_flow.topology.model import Topology

COLUMNS = (
    "stage", "reads", "backlog", "in/s", "out/s", "p50", "p99", "pending", "oldest", "dead", "consumers", "",
)  # fmt: skip
BAD = LOOKS["dead"].line


def stage_row(topology: Topology, snapshot: Snapshot, name: str) -> list[Text]:
    """One stage's cells."""
    stage, figures = topology.stages[name], snapshot.stages[name]
    named = topology.named
    reads = ", ".join(name for name in topology.reads(stage) if not named[name].spec.internal)
    latency = figures.counters.timings.latency
    reason = alarming(stage, figures)
    if reason is None and figures.paused:
        reason = "paused"
    oldest = "" if figures.oldest_pending is None else format_duration(round(figures.oldest_pending, 1))
    return [
        Text(name, style="bold"),
        Text(reads or (stage.source.name if stage.source is not None else "")),
        _right(f"{'' if figures.lag_exact else '≤ '}{figures.backlog:,}" if stage.inputs else ""),
        _right(_number(figures.rate_in)),
        _right(_number(figures.rate_out)),
        _right(_seconds(latency.quantile(0.5))),
        _right(_seconds(latency.quantile(0.99))),
        _right(f"{figures.pending:,}" if stage.inputs else ""),
        _right(oldest),
        _right(f"{figures.dead:,}", BAD if figures.dead else ""),
        _right(f"{figures.consumers:,}" if stage.inputs else ""),
        Text(reason or "", style=BAD if reason else ""),
    ]


def _right(text: str, style: str = "") -> Text:
    return Text(text, style=style, justify="right")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"
