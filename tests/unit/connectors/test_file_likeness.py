"""Whether a file is the one that was read: what every look at it is for, one by one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from papyra_flow.connectors.files.part import decode_part
from papyra_flow.errors import ConnectorError
from tests.unit.connectors.files.test_file_sources import Runs, warnings

LINE = 13
"""Bytes of `{"n": 10000}` and its end."""


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, "in/*")


async def test_a_path_that_leads_through_a_file_names_no_file(runs: Runs) -> None:
    runs.write("in/a", 1)
    runs.path = "in/a/b"
    with pytest.raises(ConnectorError, match="file not found: in/a/b"):
        await runs.run()


@pytest.mark.parametrize("left", [600, 100], ids=["more than is looked at", "less than is looked at"])
async def test_a_file_that_an_older_version_read_and_that_is_shorter_now_is_read_from_its_beginning(
    runs: Runs, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    runs.write("in/a", *range(10_000, 10_000 + left))
    runs.checkpoint = f'{{"file":"in/a","offset":{1000 * LINE},"line":1000}}'
    assert len(await runs.run(500)) == left
    (line,) = warnings(caplog)
    assert line.startswith(f"in/a is shorter than what was read of it ({1000 * LINE} bytes, line 1000)")


@pytest.mark.parametrize("left", [600, 100], ids=["more than is looked at", "less than is looked at"])
async def test_a_packed_file_whose_text_is_shorter_now_is_told_as_that(
    runs: Runs, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    path = runs.write("in/a.gz", *range(10_000, 11_000))
    assert len(await runs.run(500)) == 1000
    with gzip.open(path) as file:
        text = file.read()
    path.write_bytes(gzip.compress(text[: left * LINE]))
    assert len(await runs.run(500)) == left
    (line,) = warnings(caplog)
    assert line.startswith(f"in/a.gz is shorter than what was read of it ({1000 * LINE} bytes, line 1000)")


async def test_a_last_line_that_is_too_long_and_grows_is_told_with_its_new_length(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """What is kept of it, its beginning, is the same before and after."""
    path = runs.write("in/a", 1)
    with path.open("a") as file:
        file.write("x" * 9_000_000)
    assert await runs.run() == [1, "2"]
    with path.open("a") as file:
        file.write("x\n")
    assert await runs.run() == ["2"]
    assert [line for line in warnings(caplog) if "line 2 had no end when it was read" in line]


@pytest.mark.parametrize("state", ['{"unfinished":5}', '{"unfinished":["x",1]}', '{"unfinished":[1]}', "17", "{"])
def test_a_state_that_is_none_is_one_sentence(state: str) -> None:
    with pytest.raises(ConnectorError, match="the state of a file cannot be understood"):
        decode_part(state)
