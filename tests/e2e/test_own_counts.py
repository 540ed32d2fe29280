"""What step functions count and measure is among the figures of a run, and in its metrics."""

from __future__ import annotations

import orjson
import pytest

from papyra_flow.observe.catalogue import OWN, of_worker
from papyra_flow.observe.counters import StageCounters
from papyra_flow.observe.prometheus import exposition
from papyra_flow.observe.reports import _packed, _unpacked
from papyra_flow.spec.own_figures import OwnFigures
from tests.harness.pipelines import PipelineFolder

STEPS = """\
    def price(record, context):
        context.count("paid" if record["paid"] else "open")
        context.count("cents", record["n"])
        context.observe("size", record["n"])
        with context.timer("pricing"):
            return record
"""


@pytest.fixture
def counting(folder: PipelineFolder) -> PipelineFolder:
    module = folder.steps(STEPS)
    folder.records("in.jsonl", [{"n": n, "paid": n % 3 == 0} for n in range(30)])
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:price"}}], to: t}}
        """
    )
    return folder


@pytest.mark.parametrize("words", [(), ("--processes", "2")])
def test_a_run_tells_what_its_steps_counted(counting: PipelineFolder, url: str, words: tuple[str, ...]) -> None:
    stages = counting.cli("run", "pipeline.yml", "--json", *words, "--redis", url).json["stages"]
    assert stages["b"]["own"] == {"cents": sum(range(30)), "open": 20, "paid": 10}
    assert stages["b"]["own_values"] == {"size": {"count": 30, "sum": sum(range(30))}}
    assert stages["b"]["own_durations"]["pricing"]["count"] == 30
    assert not {"own", "own_values", "own_durations"} & set(stages["a"])


def test_people_see_it_behind_the_table(counting: PipelineFolder, url: str) -> None:
    out = counting.cli("run", "pipeline.yml", "--redis", url).out
    assert "b counted: cents 435, open 20, paid 10" in out
    assert "b measured: size 30 times, mean 14.5, p99 " in out
    assert "b timed: pricing 30 times, mean " in out


def test_a_report_keeps_every_bucket() -> None:
    told, read = StageCounters(), StageCounters()
    own = OwnFigures(told.own, told.own_durations, told.own_values)
    own.observe("size", 3)
    own.observe("size", 70_000)
    with own.timer("call"):
        pass
    read.add(_unpacked(orjson.loads(orjson.dumps(_packed(told)))))
    assert (read.own_values, read.own_durations) == (told.own_values, told.own_durations)


def test_it_is_a_metric_with_its_name(counting: PipelineFolder) -> None:
    topology = counting.topology()
    counters = StageCounters()
    counters.own["paid"] = 3
    found = [sample for sample in of_worker(topology, topology.stages["b"], "w", counters) if sample[0] is OWN]
    assert [(labels["name"], value) for _, labels, value in found] == [("paid", 3)]
    assert b'papyra_flow_own_total{name="paid"' in exposition(found)


def test_measurements_are_histograms_with_their_names(counting: PipelineFolder) -> None:
    topology = counting.topology()
    counters = StageCounters()
    own = OwnFigures(counters.own, counters.own_durations, counters.own_values)
    own.observe("size", 3)
    with own.timer("call"):
        pass
    text = exposition(of_worker(topology, topology.stages["b"], "w", counters)).decode()
    assert 'papyra_flow_own_value_bucket{le="5",name="size"' in text
    assert 'papyra_flow_own_duration_seconds_count{name="call"' in text
