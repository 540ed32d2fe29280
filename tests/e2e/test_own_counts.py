"""What step functions count is among the figures of a run, and in its metrics."""

from __future__ import annotations

import pytest

from papyra_flow.observe.catalogue import OWN, of_worker
from papyra_flow.observe.counters import StageCounters
from papyra_flow.observe.prometheus import exposition
from tests.harness.pipelines import PipelineFolder

STEPS = """\
    def price(record, context):
        context.count("paid" if record["paid"] else "open")
        context.count("cents", record["n"])
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
    assert "own" not in stages["a"]


def test_people_see_it_behind_the_table(counting: PipelineFolder, url: str) -> None:
    assert "b counted: cents 435, open 20, paid 10" in counting.cli("run", "pipeline.yml", "--redis", url).out


def test_it_is_a_metric_with_its_name(counting: PipelineFolder) -> None:
    topology = counting.topology()
    counters = StageCounters()
    counters.own["paid"] = 3
    found = [sample for sample in of_worker(topology, topology.stages["b"], "w", counters) if sample[0] is OWN]
    assert [(labels["name"], value) for _, labels, value in found] == [("paid", 3)]
    assert b'papyra_flow_own_total{name="paid"' in exposition(found)
