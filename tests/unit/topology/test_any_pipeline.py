"""Whatever a file says, the planner answers with a topology or with problems; nothing shows a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra_flow.config.load import load_pipeline
from papyra_flow.drawing.picture import picture
from papyra_flow.drawing.render import render
from papyra_flow.errors import InvalidPipelineError, PapyraFlowError
from papyra_flow.spec.models import StageConfig
from papyra_flow.streams.groups.snapshot import StreamPosition, StreamsSnapshot
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.model import Topology
from papyra_flow.topology.plan import make_plan

FLIGHTS = Path(__file__).parents[3] / "pipelines" / "flights.yml"
NAMES = [f"s{n}" for n in range(6)]
JUNK = [*"{}[]:|>'\"#\t%@é\x00\ufeff\n", "- ", "&a ", "*a", "<<: ", "!x ", "${", "? ", "---\n"]


def planned(folder: Path, text: str) -> Topology | None:
    """The topology of a text, drawn and planned; None if it has problems, each of which has to be complete."""
    file = folder / "p.yml"
    file.write_text(text, encoding="utf-8")
    try:
        topology = build_topology(load_pipeline(file, environment={}))
    except InvalidPipelineError as exc:
        told = [(p.line or 0) >= 1 and (p.column or 0) >= 1 and p.message != "" and p.code != "" for p in exc.problems]
        if not told or not all(told):
            pytest.fail(f"problems without a place or a word: {exc.problems}")
        return None
    for format_ in ("mermaid", "dot", "ascii"):
        assert render(picture(topology), format_).endswith("\n")
    assert orjson.dumps(picture(topology).as_json())
    empty = {s.key: StreamPosition(s.key, "none", 0, {}) for s in topology.streams.values()}
    assert make_plan(topology, StreamsSnapshot(empty, {}), server="x").changes >= 0
    return topology


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@st.composite
def layered(draw: st.DrawFn) -> dict[str, Any]:
    """A pipeline that makes sense: each stage reads streams that an earlier one writes."""
    stages: dict[str, Any] = {}
    written: list[str] = []
    coin: Any = st.booleans()
    for number in range(draw(st.integers(1, 8))):
        stage: dict[str, Any] = {}
        if written and draw(coin):
            stage["from"] = draw(st.lists(st.sampled_from(written), min_size=1, max_size=2, unique=True))
        else:
            stage["read"] = {"generate": {"count": draw(st.integers(0, 9))}}
        steps: Any = st.sampled_from([{"filter": "n > 1"}, {"set": {"m": "n + 1"}}, {"drop": ["m"]}, {"explode": "x"}])
        stage["process"] = draw(st.lists(steps, max_size=3))
        if draw(coin):
            stream = f"t{number}"
            stage["to"] = [{"stream": stream, "when": "n > 3"}, f"{stream}_rest"]
            written += [stream, f"{stream}_rest"]
        else:
            stage["write"] = {"jsonl": f"out{number}.jsonl"}
        stages[f"stage{number}"] = stage
    return {"pipeline": "p", "stages": stages}


@given(layered())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_pipeline_that_makes_sense_is_planned_and_flows_one_way(place: Path, document: dict[str, Any]) -> None:
    topology = planned(place, json.dumps(document))
    assert topology is not None
    assert nx.is_directed_acyclic_graph(topology.graph())
    order = [stage.name for stage in topology.in_order()]
    assert sorted(order) == sorted(document["stages"])
    for stage in topology.stages.values():
        for stream in stage.inputs:
            for writer in topology.streams[stream].writers:
                assert writer == stage.name or order.index(writer) < order.index(stage.name)


some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)
any_links = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.fixed_dictionaries({"from": some_names, "to": some_names}), min_size=1
)


@given(any_links)
@settings(max_examples=100, deadline=None)
def test_a_cycle_is_refused_if_and_only_if_there_is_one(place: Path, stages: dict[str, dict[str, list[str]]]) -> None:
    reads = [(stream, name) for name, stage in stages.items() for stream in stage["from"]]
    writes = [(name, stream) for name, stage in stages.items() for stream in stage["to"]]
    graph: nx.DiGraph[str] = nx.DiGraph([*reads, *writes])
    file = place / "c.yml"
    file.write_text(json.dumps({"pipeline": "p", "stages": stages}))
    codes = set()
    try:
        build_topology(load_pipeline(file, environment={}))
    except InvalidPipelineError as exc:
        codes = {problem.code for problem in exc.problems}
    assert ("cycle" in codes) == (not nx.is_directed_acyclic_graph(graph))


any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
any_stage = st.dictionaries(st.sampled_from([*StageConfig.model_json_schema()["properties"], "x"]), any_value)
any_stages = st.dictionaries(st.sampled_from(["a", "b"]) | st.text(max_size=5), any_stage, max_size=3)


@given(any_stages, any_value)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_nonsense_is_answered_with_problems(place: Path, stages: dict[str, Any], streams: object) -> None:
    planned(place, json.dumps({"pipeline": "p", "stages": stages, "streams": streams}))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_mutated_file_is_answered_with_problems(place: Path, data: st.DataObject) -> None:
    """The flights pipeline with parts cut out, doubled, moved and spoilt."""
    text = FLIGHTS.read_text().replace("../examples", str(FLIGHTS.parents[1] / "examples"))
    text = text.replace("flights.steps:great_circle", "math:sqrt")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        what = data.draw(st.sampled_from(["cut", "double", "insert", "swap"]))
        if what == "cut":
            text = text[:start] + text[end:]
        elif what == "double":
            text = text[:end] + text[start:end] + text[end:]
        elif what == "swap":
            text = text[:start] + text[end : end + 10] + text[start:end] + text[end + 10 :]
        else:
            text = text[:start] + data.draw(st.sampled_from(JUNK)) + text[start:]
    planned(place, text)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_bytes_of_any_kind_are_answered_with_one_of_our_errors(place: Path, data: bytes) -> None:
    file = place / "b.yml"
    file.write_bytes(data)
    with pytest.raises(PapyraFlowError):
        build_topology(load_pipeline(file, environment={}))
