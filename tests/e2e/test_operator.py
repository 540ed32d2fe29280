"""An operator's machine has the pipeline's file, and neither its code nor its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.pipelines import PipelineFolder

PIPELINE = """\
pipeline: p
stages:
  s:
    from: in
    process:
      - run: steps:f
      - lookup: {csv: not_here.csv, key: a, on: b, as: c}
    to: out
  t: {from: out, process: [{run: steps:f}], to: end}
streams: {in: {}, out: {retain: all}, end: {retain: all}}
"""


@pytest.fixture
def uncoded(folder: PipelineFolder) -> PipelineFolder:
    """A pipeline whose step functions cannot be imported, and whose lookup table is not there."""
    folder.write("steps.py", "import not_installed_here\n")
    return folder.pipeline(PIPELINE)


@pytest.mark.parametrize(
    "verb",
    [
        "apply", "plan", "status", "graph", "groups", "consumers", "pending", "dead list", "dead show", "dead replay",
        "dead drop --yes", "render alerts", "render grafana", "acl", "tap pipeline.yml in", "add pipeline.yml in {}",
        "trim --yes", "destroy --yes",
    ],
)  # fmt: skip
def test_no_verb_of_an_operator_needs_the_code(uncoded: PipelineFolder, url: str, verb: str) -> None:
    words = verb.split()
    if "pipeline.yml" not in words:
        place = 2 if words[0] in {"dead", "render"} else 1
        words.insert(place, "pipeline.yml")
    server = [] if words[0] in {"graph", "render", "acl"} else ["--redis", url]
    assert "not_installed_here" not in uncoded.cli(*words, *server).err


@pytest.mark.parametrize("verb", ["run", "validate", "test", "bench"])
def test_verbs_that_run_steps_say_what_is_missing(uncoded: PipelineFolder, verb: str) -> None:
    assert "'not_installed_here'" in uncoded.cli(verb, "pipeline.yml", code=2).err


def test_pending_needs_no_stage_and_says_which_groups_are_not_there(uncoded: PipelineFolder, url: str) -> None:
    before = uncoded.cli("pending", "pipeline.yml", "--json", "--redis", url)
    assert before.json == []
    assert "no group 's' on {p}:in; `run` and `apply` create it" in before.err
    uncoded.cli("apply", "pipeline.yml", "--redis", url)
    assert uncoded.cli("pending", "pipeline.yml", "--json", "--redis", url).err == ""


def test_what_takes_entries_away_wants_a_stage_where_there_are_several(uncoded: PipelineFolder, url: str) -> None:
    uncoded.cli("apply", "pipeline.yml", "--redis", url)
    refused = uncoded.cli("claim", "pipeline.yml", "--yes", "--redis", url, code=2)
    assert "name a stage (s, t), or a group with --stream KEY --group NAME" in refused.err
    uncoded.cli("claim", "pipeline.yml", "s", "--yes", "--redis", url)


def test_a_pipeline_is_destroyed_without_its_code(uncoded: PipelineFolder, url: str, tmp_path: Path) -> None:
    uncoded.cli("apply", "pipeline.yml", "--redis", url)
    uncoded.cli("destroy", "pipeline.yml", "--yes", "--redis", url)
    assert uncoded.cli("groups", "pipeline.yml", "--json", "--redis", url).json == []
