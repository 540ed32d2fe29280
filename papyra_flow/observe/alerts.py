"""Alert rules for Prometheus and a dashboard for Grafana, made for one pipeline.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/,
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/. What does not live
here: the metrics (`catalogue`).
"""

from __future__ import annotations

from typing import TypeAlias

from papyra_flow.observe import catalogue
from papyra_flow.observe.catalogue import Metric
from papyra_flow.spec.units import format_duration
from papyra_flow.topology.model import StageSpec, Topology

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def rules(topology: Topology) -> dict[str, Json]:
    """Rules for all that is worth waking a person for, with the stage's own limits."""
    found: list[Json] = []
    for stage in topology.in_order():
        found += _rules_of(topology, stage)
    return {"groups": [{"name": f"papyra-flow {topology.pipeline}", "rules": found}]}


def _rules_of(topology: Topology, stage: StageSpec) -> list[Json]:
    at = f'{{pipeline="{topology.pipeline}",stage="{stage.name}"}}'
    letters = catalogue.LETTERS.prometheus + at
    found: list[Json] = [
        _rule("DeadLetters", stage, f"{letters} > 0 and delta({letters}[10m]) > 0", "1m", "warning",
              "{{ $value }} dead letters, more than ten minutes ago"),
    ]  # fmt: skip
    if not stage.inputs:
        return found
    claim = stage.settings.claim_after
    backlog, oldest = catalogue.BACKLOG.prometheus + at, catalogue.OLDEST.prometheus + at
    limits = [stream.max_backlog for name in stage.inputs if (stream := topology.streams[name]).max_backlog]
    group = f'{{pipeline="{topology.pipeline}",group="{stage.group}"}}'
    pending = f"sum({catalogue.PENDING.prometheus}{group})"
    return [
        *found,
        _rule("PendingGrows", stage, f"{oldest} > {3 * claim:g} and on() {pending} > 0", "5m", "warning",
              f"entries are pending for more than {format_duration(3 * claim)}: their consumers are gone or stuck"),
        _rule("Lag", stage, f"{backlog} > {min(limits, default=100_000) * 0.8:.0f}", "5m", "warning",
              "the backlog is near the limit at which the stages before this one are stopped"),
        _rule("Lost", stage, f"increase({catalogue.LOST.prometheus}_total{at}[10m]) > 0", "0m", "critical",
              "{{ $value }} entries were acked, deleted, trimmed or taken by others before they were processed"),
        _rule("NoConsumers", stage, f"{backlog} > 0 and on() sum({catalogue.CONSUMERS.prometheus}{group}) == 0", "2m",
              "critical", "a backlog, and no consumers"),
    ]  # fmt: skip


def _rule(name: str, stage: StageSpec, expression: str, wait: str, severity: str, words: str) -> Json:
    return {
        "alert": f"PapyraFlow{name}",
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity, "stage": stage.name},
        "annotations": {"summary": f"{stage.name}: {words}"},
    }


def dashboard(topology: Topology) -> dict[str, Json]:
    """A dashboard: rates, backlogs, dead letters, durations and latencies, a line for each stage."""
    of = f'{{pipeline="{topology.pipeline}"}}'

    def rate(metric: Metric) -> str:
        return f"sum by (stage) (rate({metric.prometheus}_total{of}[1m]))"

    def quantile(share: float, metric: Metric) -> str:
        return f"histogram_quantile({share}, sum by (le, stage) (rate({metric.prometheus}_bucket{of}[5m])))"

    panels = [
        _panel("Records in", "cps", [(rate(catalogue.CONSUMED), "{{stage}}")]),
        _panel("Records out", "cps", [
            (rate(catalogue.SENT), "{{stage}}"), (rate(catalogue.WRITTEN), "{{stage}} to its sink"),
        ]),
        _panel("Backlog", "short", [(f"{catalogue.BACKLOG.prometheus}{of}", "{{stage}}")]),
        _panel("Oldest pending", "s", [(f"{catalogue.OLDEST.prometheus}{of}", "{{stage}}")]),
        _panel("Dead letters", "short", [(f"{catalogue.LETTERS.prometheus}{of}", "{{stage}}")]),
        _panel("Dropped, retried, claimed, stale", "cps", [
            (rate(metric), f"{{{{stage}}}} {word}")
            for word, metric in catalogue.NUMBERS.items() if word not in {"written", "dead"}
        ]),
        _panel("Latency of a stage", "s", [
            (quantile(share, catalogue.LATENCY), f"{{{{stage}}}} p{share * 100:.0f}") for share in (0.5, 0.99)
        ]),
        _panel("Latency from end to end", "s", [
            (quantile(share, catalogue.END_TO_END), f"{{{{stage}}}} p{share * 100:.0f}") for share in (0.5, 0.99)
        ]),
        _panel("Time in steps, p99", "s", [(quantile(0.99, catalogue.PROCESS), "{{stage}}")]),
        _panel("Time of a commit, p99", "s", [(quantile(0.99, catalogue.OPERATION), "{{stage}}")]),
        _panel("Length of streams", "short", [(f"{catalogue.LENGTH.prometheus}{of}", "{{stream}}")]),
        _panel("Memory of streams", "bytes", [(f"{catalogue.MEMORY.prometheus}{of}", "{{key}}")]),
    ]  # fmt: skip
    for number, panel in enumerate(panels):
        panel |= {"id": number + 1, "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)}}
    return {
        "uid": f"papyra-flow-{topology.pipeline}"[:40],
        "title": f"papyra-flow: {topology.pipeline}",
        "tags": ["papyra-flow"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": list(panels),
    }


def _panel(title: str, unit: str, targets: list[tuple[str, str]]) -> dict[str, Json]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(targets)
        ],
    }
