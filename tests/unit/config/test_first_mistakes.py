"""What a first file gets wrong is told in words that name the mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.errors import InvalidPipelineError, UsageError

STAGES = "stages: {in: {read: {jsonl: a.jsonl}, to: raw}}\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("pipeline: p\nstages:\n\tin: {read: {jsonl: a.jsonl}, to: raw}\n", 3, "a tab in the indentation"),
        ("pipeline: p\nstages:\n  in:\n  \tread: {jsonl: a.jsonl}\n", 4, "a tab in the indentation"),
        (f"pipeline: p\n{STAGES}---\npipeline: q\n{STAGES}", 3, "a second document starts here"),
        ("pipeline: p\nstages: {}\n", 2, "`stages` is empty"),
        ("", 1, "the file is empty"),
        ("# to do\n", 1, "the file is empty"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "p.yml"
    file.write_text(text)
    with pytest.raises(InvalidPipelineError) as caught:
        load_pipeline(file, environment={})
    (problem,) = caught.value.problems
    assert problem.line == line
    assert problem.message.removeprefix("not valid YAML: ") == message


@pytest.mark.parametrize("path", ["stages.inn.consumers", "stages.inn"])
def test_an_override_of_a_stage_that_the_file_does_not_have_names_those_that_it_has(tmp_path: Path, path: str) -> None:
    file = tmp_path / "p.yml"
    file.write_text(f"pipeline: p\n{STAGES}")
    with pytest.raises(UsageError, match=f"--set {path}: unknown stage 'inn'; the stages are in"):
        load_pipeline(file, overrides=[f"{path}=2"], environment={})
