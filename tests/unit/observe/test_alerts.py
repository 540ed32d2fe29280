"""Dashboards and alert rules: valid for Prometheus and Grafana, and of metrics that there are."""

from __future__ import annotations

import re
from typing import Any

import promql_parser
import pytest
import yaml

from papyra_flow.observe.alerts import dashboard, rules
from papyra_flow.observe.catalogue import METRICS
from tests.harness.pipelines import PipelineFolder


@pytest.fixture
def shop(folder: PipelineFolder) -> PipelineFolder:
    return folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: stdin, to: s}
          b: {from: s, to: t, claim_after: 1m}
          c: {from: t, write: stdout, group: mine}
        streams: {t: {max_backlog: 1000}}
        """
    )


def expressions(shop: PipelineFolder) -> list[str]:
    topology = shop.topology()
    alerts: Any = rules(topology)
    board: Any = dashboard(topology)
    found = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    return found + [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_every_expression_is_promql_over_metrics_that_there_are(shop: PipelineFolder) -> None:
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    known = {metric.prometheus + suffix for metric in METRICS for suffix in suffixes[metric.kind]}
    for expression in expressions(shop):
        promql_parser.parse(expression)
        named = set(re.findall(r"\b((?:papyra_flow|redis|messaging)_\w+)\{", expression))
        assert named
        assert named <= known, expression


def test_rules_know_the_stages_and_their_limits(shop: PipelineFolder) -> None:
    made: Any = yaml.safe_load(yaml.safe_dump(rules(shop.topology())))
    found = {(rule["alert"], rule["labels"]["stage"]): rule["expr"] for rule in made["groups"][0]["rules"]}
    assert {name for name, stage in found if stage == "b"} == {
        "PapyraFlowDeadLetters", "PapyraFlowPendingGrows", "PapyraFlowLag", "PapyraFlowLost", "PapyraFlowNoConsumers",
    }  # fmt: skip
    assert {name for name, stage in found if stage == "a"} == {"PapyraFlowDeadLetters"}
    assert "> 180" in found["PapyraFlowPendingGrows", "b"]
    assert "> 800" in found["PapyraFlowLag", "c"]
    assert 'group="mine"' in found["PapyraFlowNoConsumers", "c"]


def test_the_commands_print_what_can_be_imported(shop: PipelineFolder) -> None:
    board = shop.cli("render", "grafana", "pipeline.yml").json
    assert board["title"] == "papyra-flow: p"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 10
    shop.cli("render", "alerts", "pipeline.yml", "-o", "alerts.yml")
    assert yaml.safe_load((shop.path / "alerts.yml").read_text())["groups"][0]["name"] == "papyra-flow p"
