"""Files that a pipeline writes: one stage each, and none that the pipeline reads, however they are spelt."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.topology.files import _fits
from tests.harness.pipelines import PipelineFolder

SAME = ["o", "./o", "d/../o", "{folder}/o", "link", "to_folder/o", "hard"]


@pytest.fixture
def linked(folder: PipelineFolder) -> PipelineFolder:
    """A folder in which `o` has many names."""
    (folder.path / "o").write_text("")
    (folder.path / "d").mkdir()
    (folder.path / "link").symlink_to("o")
    (folder.path / "to_folder").symlink_to(".")
    (folder.path / "hard").hardlink_to(folder.path / "o")
    return folder


def found(folder: PipelineFolder, stages: str) -> list[tuple[str, int | None]]:
    folder.file.write_text(f"pipeline: p\nstages:\n{stages}")
    return [(problem.code, problem.line) for problem in folder.problems()]


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("kinds", [("jsonl", "jsonl"), ("csv", "jsonl")])
def test_two_sinks_of_one_file_are_refused_however_it_is_spelt(
    linked: PipelineFolder, name: str, kinds: tuple[str, str]
) -> None:
    name = name.format(folder=linked.path)
    stages = f"  a: {{read: stdin, write: {{{kinds[0]}: o}}}}\n  b: {{read: stdin, write: {{{kinds[1]}: '{name}'}}}}\n"
    assert found(linked, stages) == [("shared-file", 4)]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "pattern", ["in/a.jsonl", "in/*.jsonl", "**/*.jsonl", "./in/../in/?.jsonl", "{folder}/in/[a-c].jsonl", "to/*.jsonl"]
)
def test_a_sink_that_a_source_of_the_pipeline_reads_is_refused(
    folder: PipelineFolder, there: bool, pattern: str
) -> None:
    (folder.path / "in").mkdir()
    (folder.path / "to").symlink_to("in")
    if there:
        (folder.path / "in" / "a.jsonl").write_text("")
    pattern = pattern.format(folder=folder.path)
    stages = f"  a: {{read: {{jsonl: '{pattern}'}}, to: s}}\n  b: {{from: s, write: {{jsonl: in/a.jsonl}}}}\n"
    assert found(folder, stages) == [("own-source", 4)]
    assert found(folder, stages.replace("write: {jsonl: in/a.jsonl", "write: {jsonl: out/a.json")) == []


def test_a_sink_that_a_lookup_has_as_its_table_is_refused(folder: PipelineFolder) -> None:
    folder.write("t.csv", "k,v\n1,2\n")
    stages = (
        "  a: {read: stdin, process: [{lookup: {csv: t.csv, on: k}}], to: s}\n  b: {from: s, write: {csv: ./t.csv}}\n"
    )
    assert found(folder, stages) == [("own-source", 4)]


def test_a_sink_that_is_not_a_regular_file_is_refused(folder: PipelineFolder) -> None:
    os.mkfifo(folder.path / "pipe")
    assert found(folder, "  a: {read: stdin, write: {jsonl: pipe}}\n") == [("sink-file", 3)]
    assert found(folder, "  a: {read: stdin, write: {jsonl: /dev/null}}\n") == [("sink-file", 3)]


NAME = st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
PART = st.sampled_from(["*", "**", "a*", "?", "[ab]*", ".*"]) | NAME


@given(st.lists(PART, min_size=1, max_size=4), st.lists(NAME, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_glob_fits_a_path_that_is_not_there_as_it_would_if_it_were(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[str], path: list[str]
) -> None:
    import glob

    folder = tmp_path_factory.mktemp("glob")
    (folder / "x").mkdir()
    target = folder.joinpath(*path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("")
    finds = str(target) in glob.glob(str(folder.joinpath(*pattern)), recursive=True)  # noqa: PTH207
    assert _fits(tuple(pattern), tuple(path)) == finds
