"""Pictures of a topology: golden files, escapes, and nothing secret in them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.render import picture, render
from tests.harness.pipelines import PipelineFolder

GOLDEN = Path(__file__).parent / "golden"
FLIGHTS = Path(__file__).parents[3] / "pipelines" / "flights.yml"


@pytest.mark.parametrize("format_", ["mermaid", "dot", "ascii", "json"])
def test_flights_are_drawn_as_they_were_looked_at(format_: str) -> None:
    """UPDATE_GOLDEN=1 writes the files anew; look at what changed before it is committed."""
    topology = build_topology(load_pipeline(FLIGHTS, environment={}))
    as_json = json.dumps(picture(topology).as_json(), indent=1) + "\n"
    drawn = as_json if format_ == "json" else render(topology, format_)
    file = GOLDEN / f"flights.{format_}"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(drawn)
    assert drawn == file.read_text()


def test_a_picture_has_every_kind_of_node_and_edge(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in}, to: [{stream: s, when: 'x > 1'}, t]}
          b: {from: s, write: stdout}
        """
    )
    drawn = picture(folder.topology()).as_json()
    nodes, edges = drawn["nodes"], drawn["edges"]
    assert isinstance(nodes, list)
    assert isinstance(edges, list)
    assert {node["kind"] for node in nodes} == {"source", "stage", "stream", "sink", "dead"}
    assert {"from": "stage:a", "to": "stream:s", "when": "x > 1"} in edges
    ids = {node["id"] for node in nodes}
    assert all({edge["from"], edge["to"]} <= ids for edge in edges)


@pytest.mark.parametrize("format_", ["mermaid", "dot", "ascii"])
def test_passwords_never_get_into_a_picture(folder: PipelineFolder, format_: str) -> None:
    folder.pipeline(
        """\
        pipeline: p
        redis: redis://me:hunter2@localhost:1
        stages:
          a: {read: {stream: k, redis: "redis://u:hunter2@h:1/0?password=hunter2"}, process: [{filter: x}], to: s}
          b: {from: s, write: {stream: k2, redis: "redis://u:hunter2@h:1"}}
        """
    )
    assert "hunter2" not in render(folder.topology(), format_)


def test_texts_are_escaped_for_their_format(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in}, process: [{filter: 'x == "<b>&|`"'}], to: [{stream: s, when: 'y == "a|b]"'}, t]}
        """
    )
    mermaid = render(folder.topology(), "mermaid")
    assert "<b>" not in mermaid
    assert "&#" not in mermaid.replace("#", "")
    assert "#60;b#62;" in mermaid
    assert r"\"<b>&|`\"" in render(folder.topology(), "dot")
