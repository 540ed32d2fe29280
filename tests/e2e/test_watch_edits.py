"""`run --watch` and edits that come close together, however the machine's time falls between them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis

from tests.e2e.test_watch import FILE, STEPS, Watched
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually

SECOND = 1_700_000_000


@pytest.fixture
def watched(
    folder: PipelineFolder, url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # compiled code is what may be out of date
    _edit(folder, 1)
    folder.file.write_text(FILE % "")
    run = Watched(folder, url, redis_client)
    run.send()
    eventually(run.all_arrived, "the first records")
    yield run
    run.end()


def _edit(folder: PipelineFolder, version: int) -> None:
    """Change the steps, in one step: the file's size and second of change stay as they were."""
    path = folder.write("steps.new", STEPS % version)
    os.utime(path, (SECOND, SECOND))
    path.replace(folder.path / "steps.py")


def test_edits_within_one_second_are_all_taken_up(watched: Watched) -> None:
    for version in (2, 3):
        _edit(watched.folder, version)
        eventually(lambda: watched.restarts == version - 1, "the restart")  # noqa: B023
        watched.send()
        eventually(watched.all_arrived, "all records")
        assert watched.arrived()[-1]["version"] == version


def test_an_edit_of_a_step_while_the_file_is_not_valid_is_taken_up_when_it_is(watched: Watched) -> None:
    watched.folder.file.write_text(FILE % ", wat: 1")
    eventually(lambda: watched.said("wat"), "the reason")
    before = _refusals(watched)
    _edit(watched.folder, 2)
    eventually(lambda: _refusals(watched) > before, "the edit that is not taken up")
    watched.folder.file.write_text(FILE % "")
    eventually(lambda: watched.restarts == 1, "the edit that is")
    watched.send()
    eventually(watched.all_arrived, "all records")
    assert watched.arrived()[-1]["version"] == 2


def _refusals(watched: Watched) -> int:
    return sum("the previous version keeps running" in line for line in watched.lines)
