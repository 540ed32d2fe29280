"""Which file is which, rule by rule: each history here is told wrongly by a source that leaves one of them out."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from papyra_flow.connectors.base import BadRecord, ConnectorContext
from papyra_flow.connectors.files import file_set
from papyra_flow.connectors.files import source as file_source
from papyra_flow.connectors.files.open_file import OpenFile
from papyra_flow.spec.components import SOURCES, components
from tests.unit.connectors.files.test_file_sources import Runs, warnings


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits."""
    monkeypatch.setattr(file_source, "POLL_SECONDS", (0, 0))
    monkeypatch.setattr(file_set, "SETTLED_SECONDS", 0)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, "in/*")


class Following:
    """A run that follows its files; what it kept goes to the `Runs` that it is made of."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        config = components(SOURCES)[runs.kind].model_validate({"path": runs.path, "follow": True, **runs.fields})
        self._source = config.open(ConnectorContext(runs.folder, "p", "s", "embedded"))  # type: ignore[attr-defined]

    async def start(self) -> None:
        self._source.restore(dict(self._runs.parts))
        await self._source.start(self._runs.checkpoint)

    async def poll(self) -> list[Any]:
        """What there is to read, until there is nothing more."""
        found: list[Any] = []
        quiet = 0
        while quiet < 3:
            async with asyncio.timeout(60):
                portion = await self._source.read(3)
            found += [i.place if isinstance(i, BadRecord) else orjson.loads(i)["n"] for i in portion.items]
            self._runs.parts = {n: state for n, state in {**self._runs.parts, **portion.parts}.items() if state}
            self._runs.checkpoint = portion.checkpoint
            quiet = 0 if portion.items else quiet + 1
        return found

    async def close(self) -> None:
        await self._source.close()


@asynccontextmanager
async def following(runs: Runs) -> AsyncIterator[Following]:
    found = Following(runs)
    await found.start()
    try:
        yield found
    finally:
        await found.close()


def states(runs: Runs) -> dict[str, dict[str, Any]]:
    """What is kept of each file, by its path."""
    return {part["path"]: part for part in map(orjson.loads, runs.parts.values())}


# -- the same file, or another one ------------------------------------------------------------------------------------


async def test_a_log_that_was_copied_and_truncated_is_read_on_in_its_copy(runs: Runs) -> None:
    runs.path = "in/*.log"
    path = runs.write("in/a.log", 1, 2, 3)
    assert await runs.run() == [1, 2, 3]
    runs.write("in/a.log", 4, mode="a")
    shutil.copy(path, path.with_name("a.log.1"))
    runs.write("in/a.log", 5)
    assert sorted(await runs.run()) == [4, 5]
    assert await runs.run() == []


async def test_a_copy_that_the_pattern_names_too_is_the_file_that_was_read_if_that_is_not_there(runs: Runs) -> None:
    path = runs.write("in/a", 1, 2, 3)
    assert await runs.run() == [1, 2, 3]
    runs.write("in/a", 4, mode="a")
    shutil.copy(path, path.with_name("a.1"))
    runs.write("in/a", 5)
    assert sorted(await runs.run()) == [4, 5]


async def test_a_copy_that_was_read_as_a_file_of_its_own_does_not_take_the_place_of_one_that_is_deleted(
    runs: Runs,
) -> None:
    path = runs.write("in/a", 1, 2)
    shutil.copy(path, path.with_name("a.1"))
    assert await runs.run() == [1, 2, 1, 2]
    path.unlink()
    assert await runs.run() == []
    runs.write("in/a.1", 3, mode="a")
    assert await runs.run() == [3]


async def test_a_renamed_file_and_a_copy_under_its_former_name_are_two(runs: Runs) -> None:
    path = runs.write("in/a", 1, 2)
    assert await runs.run() == [1, 2]
    path.rename(path.with_name("b"))
    shutil.copy(path.with_name("b"), path)
    runs.write("in/b", 3, mode="a")
    assert sorted(await runs.run()) == [1, 2, 3]
    runs.write("in/a", 4, mode="a")
    assert await runs.run() == [4]


async def test_an_inode_that_another_file_of_the_same_text_was_given_is_another_file(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    path = runs.write("in/a", 1, 2)
    assert await runs.run() == [1, 2]
    other = path.rename(path.with_name("b"))
    os.utime(other, (2_000_000_000, 2_000_000_000))
    assert await runs.run() == [1, 2]
    assert "in/b holds what was read of in/a, but was written later: it is read as another file" in warnings(caplog)


async def test_a_file_that_was_only_touched_is_not_read_again(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    path = runs.write("in/a", 1, 2)
    assert await runs.run() == [1, 2]
    os.utime(path, (2_000_000_000, 2_000_000_000))
    assert await runs.run() == []
    assert warnings(caplog) == []


async def test_a_renamed_file_is_known_by_its_new_name_from_then_on(runs: Runs) -> None:
    path = runs.write("in/a", 1, 2)
    assert await runs.run() == [1, 2]
    renamed = path.rename(path.with_name("b"))
    assert await runs.run() == []
    shutil.copy(renamed, runs.folder / "elsewhere")
    (runs.folder / "elsewhere").replace(renamed)
    assert await runs.run() == [], "restored from a backup: another inode"


async def test_a_file_that_came_back_is_one_that_can_go_again(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    runs.write("in/other", 0)
    path, away = runs.write("in/a", 1, 2), runs.folder / "away"
    assert await runs.run() == [1, 2, 0]
    for n in (3, 4):
        path.rename(away)
        assert await runs.run() == []
        away.rename(path)
        runs.write("in/a", n, mode="a")
        assert await runs.run() == [n]
    assert not states(runs)["in/a"].get("gone")
    path.unlink()
    assert await runs.run() == []
    assert states(runs)["in/a"]["gone"]


async def test_a_file_that_goes_between_two_looks_at_it_ends_no_run(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = runs.write("in/a", 1, 2)
    runs.write("in/b", 3)
    assert await runs.run() == [1, 2, 3]
    runs.write("in/a", 4, mode="a")

    def gone(where: Path, name: str) -> Any:
        path.unlink(missing_ok=True)
        return OpenFile(where, name)

    monkeypatch.setattr("papyra_flow.connectors.files.file_set.OpenFile", gone)
    runs.write("in/b", 5, mode="a")
    assert await runs.run() == [5]


async def test_files_of_a_pattern_of_before_are_neither_read_on_nor_gone(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    runs.write("in/a", 1)
    assert await runs.run() == [1]
    runs.path = "other/*"
    runs.write("in/a", 2, mode="a")
    runs.write("other/b", 3)
    assert await runs.run() == [3]
    assert warnings(caplog) == []
    runs.path = "in/*"
    assert await runs.run() == [2]


# -- what is kept of them ---------------------------------------------------------------------------------------------


async def test_files_that_were_begun_come_first_whatever_their_names(runs: Runs) -> None:
    runs.write("in/b", *range(10))
    runs.write("in/c", 20)
    async with following(runs) as followed:
        portion = await followed._source.read(4)
        runs.parts, runs.checkpoint = dict(portion.parts), portion.checkpoint
    runs.write("in/a", 30)
    assert await runs.run() == [*range(4, 10), 30, 20]


async def test_of_files_that_are_gone_the_latest_are_remembered(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_set, "GONE_KEPT", 2)
    runs.write("in/stays", 0)
    assert await runs.run() == [0]
    for n in range(1, 6):
        path = runs.write("in/a", n)
        assert await runs.run() == [n]
        path.unlink()
        assert await runs.run() == []
    assert len(runs.parts) == 3


async def test_a_commit_has_the_states_of_what_it_read_alone(runs: Runs) -> None:
    for name in "ab":
        runs.write(f"in/{name}", 1, 2)
    async with following(runs) as followed:
        kept = [set(states(Runs(runs.folder, "", parts=(await followed._source.read(2)).parts))) for _ in range(2)]
    assert kept == [{"in/a"}, {"in/b"}]


async def test_a_file_that_was_gone_before_it_was_read_leaves_nothing_behind(runs: Runs) -> None:
    first, second = runs.write("in/a", 1), runs.write("in/b", 2)
    async with following(runs) as followed:
        await followed._source.read(5)
        second.unlink()
        assert await followed.poll() == []
    assert set(states(runs)) <= {"in/a"}
    assert first.exists()


@pytest.mark.parametrize("count", [1, 2, 500])
async def test_of_an_end_that_is_open_in_two_ways_what_comes_last_may_grow(
    runs: Runs, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """A quote that is never closed, and behind it a row whose line has no end."""
    runs.kind, runs.fields = "csv", {"types": {"n": "int"}}
    path = runs.write("in/a", 0)
    path.write_text('n,v\n-1,"open\n1,x\n2,y')
    assert await runs.run(count) == ["2", 1, 2]
    with path.open("a") as file:
        file.write("\n3,z\n")
    assert await runs.run(count) == [3]
    assert warnings(caplog) == []


# -- files that are followed ------------------------------------------------------------------------------------------


def open_files() -> list[str]:
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in targets if "/in/" in target]


async def test_what_was_written_to_a_followed_file_before_it_was_deleted_is_read(runs: Runs) -> None:
    path = runs.write("in/a", 1)
    async with following(runs) as followed:
        assert await followed.poll() == [1]
        runs.write("in/a", 2, 3, mode="a")
        path.unlink()
        assert await followed.poll() == [2, 3]
        assert await followed.poll() == []
        assert open_files() == [], "it is let go of when it is read to its end"


async def test_a_followed_file_that_was_replaced_while_nothing_ran_is_told_with_what_may_be_missed(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    path = runs.write("in/a", 1, 2)
    async with following(runs) as followed:
        assert await followed.poll() == [1, 2]
    runs.write("new", 7)
    (runs.folder / "new").replace(path)
    async with following(runs) as followed:
        assert await followed.poll() == [7]
    (line,) = warnings(caplog)
    assert "in/a is a new file, and its predecessor was not found: what was written to that after line 2" in line


async def test_a_packed_file_among_followed_ones_is_read_once(runs: Runs) -> None:
    runs.write("in/a.gz", 1, 2)
    async with following(runs) as followed:
        assert await followed.poll() == [1, 2]
        runs.write("in/b", 3)
        assert await followed.poll() == [3]


@pytest.mark.parametrize("name", ["in/a.1", "rotated"], ids=["named by the pattern", "not named by it"])
async def test_the_last_line_of_a_renamed_file_is_whole_when_it_is_written_no_more(
    runs: Runs, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.path = "in/*"
    now = 0.0
    monkeypatch.setattr("papyra_flow.connectors.files.file_set.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(file_set, "SETTLED_SECONDS", 5)
    path = runs.write("in/a", 1, 2, end="")
    target = runs.folder / name if "/" in name else path.with_name(name)
    if "/" not in name:
        runs.path = "in/a"
    async with following(runs) as followed:
        assert await followed.poll() == [1]
        path.rename(target)
        assert await followed.poll() == []
        now = 4.0
        with target.open("a") as file:
            file.write(" ")
        assert await followed.poll() == [], "it grows: it may grow on"
        now = 8.0
        assert await followed.poll() == []
        now = 10.0
        assert await followed.poll() == [2]
        assert await followed.poll() == []


async def test_a_header_that_is_still_being_written_is_waited_for(runs: Runs) -> None:
    runs.kind = "csv"
    path = runs.write("in/a", 0)
    path.write_text("n,n")
    async with following(runs) as followed:
        assert await followed.poll() == []
        with path.open("a") as file:
            file.write("2\n1,x\n")
        assert await followed.poll() == ["1"]


async def test_a_last_line_that_a_run_with_an_end_has_sent_is_not_sent_again_by_one_that_follows(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    path = runs.write("in/a", 1, 2, end="")
    assert await runs.run() == [1, 2]
    async with following(runs) as followed:
        assert await followed.poll() == []
    async with following(runs) as followed:
        with path.open("a") as file:
            file.write(" ")
        assert await followed.poll() == [], "it has grown, and has no end still"
        with path.open("a") as file:
            file.write('\n{"n": 3}\n')
        assert await followed.poll() == [3]
    assert warnings(caplog) == []


async def test_a_followed_file_that_was_restored_elsewhere_on_the_disk_is_gone_on_with(runs: Runs) -> None:
    """It is open still as it was before."""
    path = runs.write("in/a", 1)
    async with following(runs) as followed:
        assert await followed.poll() == [1]
        shutil.copy(path, runs.folder / "copy")
        runs.write("copy", 2, mode="a")
        (runs.folder / "copy").replace(path)
        assert await followed.poll() == [2]


async def test_a_file_that_is_rewritten_between_the_look_and_its_opening_is_another(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = runs.write("in/a", *range(100))
    assert len(await runs.run(500)) == 100
    runs.write("in/a", 100, mode="a")
    look = file_set.FileSet.look

    def rewritten(self: file_set.FileSet, held: Any) -> list[file_set.FileTurn]:
        turns = look(self, held)
        if "5000" not in path.read_text():
            runs.write("in/a", *range(5000, 5300))
        return turns

    monkeypatch.setattr(file_set.FileSet, "look", rewritten)
    assert await runs.run(500) == list(range(5000, 5300))
    assert len(warnings(caplog)) == 1


async def test_only_so_many_files_are_open_at_a_time(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_source, "HELD_FILES", 3)
    for n in range(9):
        runs.write(f"in/{n}", n)
    async with following(runs) as followed:
        assert await followed.poll() == list(range(9))
        assert len(open_files()) == 3


async def test_a_file_that_is_written_faster_than_it_is_read_keeps_no_other_waiting(runs: Runs) -> None:
    runs.write("in/a", *range(3))
    runs.write("in/b", -1)
    async with following(runs) as followed:
        for n in range(3, 60):
            portion = await followed._source.read(1)
            if any(orjson.loads(item)["n"] == -1 for item in portion.items):
                return
            runs.write("in/a", n, mode="a")
    pytest.fail("only one of them is read")


# -- checkpoints of before --------------------------------------------------------------------------------------------


async def test_a_line_that_an_older_version_sent_without_its_end_is_not_gone_on_with_in_its_middle(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    runs.kind = "csv"
    runs.write("in/a", 0).write_text("n\n1\n25\n3\n")
    runs.checkpoint = '{"file":"in/a","offset":5,"line":3}'
    assert await runs.run() == ["25", "3"]
    assert len(warnings(caplog)) == 1


async def test_a_file_that_an_older_version_has_read_may_go(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    path = runs.write("in/a", 1)
    runs.write("in/b", 2)
    runs.checkpoint = '{"file":"in/b","offset":9,"line":1}'
    assert await runs.run() == []
    path.unlink()
    assert await runs.run() == []
    assert warnings(caplog) == []
