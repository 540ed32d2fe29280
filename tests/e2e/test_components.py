"""The example of components that need no packaging, run by the command as its README says."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.harness.pipelines import PipelineFolder

EXAMPLE = Path(__file__).parents[2] / "examples" / "components"


@pytest.fixture
def example(folder: PipelineFolder) -> PipelineFolder:
    shutil.copytree(EXAMPLE, folder.path, dirs_exist_ok=True)
    return PipelineFolder(folder.path)


def rows(example: PipelineFolder) -> list[tuple[str, float]]:
    with sqlite3.connect(example.path / "payments.db") as database:
        return database.execute("SELECT card, amount FROM payments ORDER BY key").fetchall()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_source_a_step_and_a_sink_beside_the_file_are_run(example: PipelineFolder, processes: str) -> None:
    example.cli("test", "pipeline.yml")
    run = example.cli("run", "pipeline.yml", "--json", "--processes", processes, code=3)
    assert rows(example) == [("************1234", 12.5), ("************7777", 3.0)]
    stages = run.json["stages"]
    assert (stages["take"]["read"], stages["take"]["dead"]) == (4, 1)
    assert (stages["keep"]["written"], stages["keep"]["dead"]) == (2, 1)
    assert "NOT NULL constraint failed: payments.amount" in example.cli("dead", "show", "pipeline.yml", "keep").out
    assert "not JSON" in example.cli("dead", "show", "pipeline.yml", "take").out


def test_a_folder_that_is_not_there_ends_the_run_with_one_sentence(example: PipelineFolder) -> None:
    shutil.rmtree(example.path / "inbox")
    run = example.cli("run", "pipeline.yml", code=1)
    assert run.err.strip().endswith("papyra-flow: folder not found: inbox")
    assert "Traceback" not in run.err


def test_what_is_committed_may_be_removed(example: PipelineFolder) -> None:
    text = example.file.read_text()
    example.file.write_text(text.replace("{./inbox.py:Inbox: inbox}", "{./inbox.py:Inbox: inbox, remove: true}"))
    example.cli("run", "pipeline.yml", code=3)
    assert list((example.path / "inbox").iterdir()) == []
    assert "exactly-once" in example.cli("plan", "pipeline.yml").out
