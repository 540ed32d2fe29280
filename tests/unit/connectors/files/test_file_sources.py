"""Files as sources: which files a path names, and what becomes of each when it is not the file that it was."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from papyra_flow.connectors.base import BadRecord, ConnectorContext
from papyra_flow.errors import ConnectorError
from papyra_flow.spec.components import SOURCES, components


@dataclass
class Runs:
    """Runs a source again and again, with what each commit kept."""

    folder: Path
    path: str
    kind: str = "jsonl"
    fields: Mapping[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    checkpoint: str = ""

    async def run(self, count: int = 3) -> list[Any]:
        """The values of `n` that a bounded run reads; a bad record as its place."""
        config = components(SOURCES)[self.kind].model_validate({"path": self.path, **self.fields})
        source = config.open(ConnectorContext(self.folder, "p", "s", "embedded"))  # type: ignore[attr-defined]
        source.restore(dict(self.parts))
        found: list[Any] = []
        try:
            await source.start(self.checkpoint)
            while True:
                portion = await source.read(count)
                found += [i.place if isinstance(i, BadRecord) else orjson.loads(i)["n"] for i in portion.items]
                self.parts = {name: state for name, state in {**self.parts, **portion.parts}.items() if state}
                self.checkpoint = portion.checkpoint
                if portion.done:
                    return found
        finally:
            await source.close()

    def write(self, name: str, *numbers: int, end: str = "\n", mode: str = "w") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(f'{{"n": {n}}}' for n in numbers) + end
        if name.endswith(".gz"):
            with path.open("ab" if mode == "a" else "wb") as file:
                file.write(gzip.compress(text.encode()))
        else:
            with path.open(mode) as file:
                file.write(text)
        return path


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, "in/*")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_names_with_numbers_are_read_in_the_order_of_the_numbers(runs: Runs) -> None:
    for n in (10, 9, 2, 100):
        runs.write(f"in/part-{n}.jsonl", n)
    runs.write("in/part-x.jsonl", 0)
    assert await runs.run() == [2, 9, 10, 100, 0]


async def test_a_late_file_is_read_wherever_its_name_sorts(runs: Runs) -> None:
    runs.write("in/b", 1)
    assert await runs.run() == [1]
    runs.write("in/a", 2)
    runs.write("in/c", 3)
    assert await runs.run() == [2, 3]
    assert await runs.run() == []


async def test_only_the_pattern_is_one_and_a_file_of_that_very_name_comes_first(tmp_path: Path) -> None:
    inside = Runs(tmp_path / "[a]*?", "x[1].jsonl")
    inside.write("x1.jsonl", 1)
    assert await inside.run() == [1]
    inside.write("x[1].jsonl", 2)
    assert await inside.run() == [2]


async def test_files_of_any_name_are_read_and_known_again(runs: Runs) -> None:
    (runs.folder / "in").mkdir()
    runs.write(os.fsdecode(b"in/\xff\n\x1b.jsonl"), 1)
    assert await runs.run() == [1]
    assert await runs.run() == []


@pytest.mark.parametrize("kind", ["a directory", "a pipe"])
async def test_what_is_not_a_file_is_one_sentence(runs: Runs, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    runs.write("in/a", 1)
    path = runs.folder / "in" / "odd"
    path.mkdir() if kind == "a directory" else os.mkfifo(path)
    assert await runs.run() == [1]
    assert warnings(caplog) == [f"in/odd is {kind}, not a file: skipped"]
    with pytest.raises(ConnectorError, match=f"cannot read in/odd: it is {kind}, not a file"):
        await Runs(runs.folder, "in/odd").run()


async def test_a_device_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match="cannot read /dev/zero: it is a device, not a file; to read a pipe, use"):
        await Runs(tmp_path, "/dev/zero").run()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
async def test_a_file_that_may_not_be_read_is_named(runs: Runs) -> None:
    runs.write("in/a", 1).chmod(0)
    with pytest.raises(ConnectorError, match="cannot read in/a: Permission denied"):
        await runs.run()


async def test_a_link_and_its_file_are_one(runs: Runs) -> None:
    path = runs.write("in/a", 1, 2)
    (runs.folder / "in" / "b").symlink_to(path)
    (runs.folder / "in" / "c").hardlink_to(path)
    (runs.folder / "in" / "dangling").symlink_to("nowhere")
    assert await runs.run() == [1, 2]


async def test_a_file_under_another_path_of_the_pipeline_is_read_from_its_beginning(tmp_path: Path) -> None:
    runs = Runs(tmp_path, "a.jsonl")
    runs.write("a.jsonl", 1, 2)
    runs.write("b.jsonl", 1, 2, 3)
    assert await runs.run() == [1, 2]
    runs.path = "b.jsonl"
    assert await runs.run() == [1, 2, 3]
    runs.write("a.jsonl", 4, mode="a")
    runs.path = "a.jsonl"
    assert await runs.run() == [4], "what was read under the first path is known still"


async def test_an_archived_file_is_not_read_again_and_is_finished(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    runs.path = "in/a"
    path = runs.write("in/a", 1, 2)
    assert await runs.run() == [1, 2]
    runs.write("in/a", 3, mode="a")
    path.rename(runs.folder / "in" / "old")
    runs.write("in/a", 4)
    assert await runs.run() == [3, 4]
    assert warnings(caplog) == ["in/a is in/old now: what was read of it, up to line 2, is not read again"]


async def test_a_file_that_is_gone_before_it_was_read_is_told(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abc":
        runs.write(f"in/{name}", *range(5))
    config = components(SOURCES)["jsonl"].model_validate({"path": "in/*"})
    source = config.open(ConnectorContext(runs.folder, "p", "s", "embedded"))  # type: ignore[attr-defined]
    await source.start("")
    await source.read(1)
    (runs.folder / "in" / "b").unlink()
    rest = 0
    while not (portion := await source.read(10)).done:
        rest += len(portion.items)
    assert rest == 9
    assert warnings(caplog) == ["in/b is gone; it was read up to line 0, at least 45 bytes after it"]


async def test_a_file_that_is_gone_half_read_is_told_once(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    runs.write("in/a", 1)
    path = runs.write("in/b", *range(10))
    config = components(SOURCES)["jsonl"].model_validate({"path": "in/*"})
    source = config.open(ConnectorContext(runs.folder, "p", "s", "embedded"))  # type: ignore[attr-defined]
    await source.start("")
    for _ in range(2):
        runs.parts |= (await source.read(3)).parts
    await source.close()
    path.unlink()
    assert await runs.run() == []
    assert len(warnings(caplog)) == 1
    assert "in/b is gone; it was read up to line 3" in warnings(caplog)[0]
    assert await runs.run() == []
    assert len(warnings(caplog)) == 1


async def test_a_file_that_was_restored_elsewhere_on_the_disk_is_gone_on_with(runs: Runs) -> None:
    path = runs.write("in/a", *range(1000))
    assert len(await runs.run(500)) == 1000
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes() + b'{"n": 1000}\n')
    copy.replace(path)
    assert await runs.run() == [1000]


@pytest.mark.parametrize("where", [0, 5000, 11_000])
async def test_a_file_that_was_changed_anywhere_near_what_is_looked_at_is_another(
    runs: Runs, caplog: pytest.LogCaptureFixture, where: int
) -> None:
    path = runs.write("in/a", *range(10_000, 11_000))
    assert len(await runs.run(500)) == 1000
    data = path.read_bytes()
    assert len(data) == 13_000
    path.write_bytes(data[:where] + b'{"n": 1}\n' * 500 + data[where:])
    assert len(await runs.run(500)) == 1500
    assert warnings(caplog) == ["in/a is not the file that was read up to line 1000: reading it from its beginning"]


@pytest.mark.parametrize("growth", ["\n", "\r\n", "  \n", '\n{"n": 3}\n'])
async def test_a_last_line_that_only_gets_its_end_is_not_sent_again(
    runs: Runs, caplog: pytest.LogCaptureFixture, growth: str
) -> None:
    path = runs.write("in/a", 1, 2, end="")
    assert await runs.run() == [1, 2]
    with path.open("a", newline="") as file:
        file.write(growth)
    assert await runs.run() == ([3] if "3" in growth else [])
    assert await runs.run() == []
    assert warnings(caplog) == []


async def test_a_last_line_that_grows_again_and_again_is_told_each_time(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    runs.kind, runs.fields = "csv", {"types": {"n": "int"}}
    path = runs.folder / "in" / "a"
    path.parent.mkdir()
    path.write_text("n,v\n7,x\n1")
    assert await runs.run() == [7, "3"]
    for number, rest in enumerate((',"a', "b", 'c"\n2,y\n'), start=1):
        with path.open("a") as file:
            file.write(rest)
        found = await runs.run()
        assert len(warnings(caplog)) == number
        assert all(line.startswith("in/a, line 3 had no end when it was read") for line in warnings(caplog))
    assert found == [1, 2]
    assert await runs.run() == []


async def test_a_header_that_is_still_being_written_is_read_again(runs: Runs) -> None:
    runs.kind = "csv"
    path = runs.folder / "in" / "a"
    path.parent.mkdir()
    path.write_text("n,lo")
    assert await runs.run() == []
    with path.open("a") as file:
        file.write("ng\n1,x\n")
    assert await runs.run() == ["1"]


async def test_packed_files_are_known_by_their_text(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    runs.write("in/a.gz", *range(3000))
    assert len(await runs.run(500)) == 3000
    assert await runs.run() == []
    runs.write("in/a.gz", 3000, mode="a")
    assert await runs.run() == [3000]
    path = runs.write("in/b", *range(5000, 6000))
    assert len(await runs.run(500)) == 1000
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name("b.gz").write_bytes(packed)
    assert await runs.run() == [], "packed since, as logs are when they are rotated"
    assert warnings(caplog) == []
    runs.write("in/a.gz", *range(4000, 4010))
    assert await runs.run() == list(range(4000, 4010))
    assert len(warnings(caplog)) == 1


async def test_a_packed_file_is_gone_on_with_after_a_kill(runs: Runs) -> None:
    runs.write("in/a.gz", *range(3000))
    config = components(SOURCES)["jsonl"].model_validate({"path": "in/*"})
    source = config.open(ConnectorContext(runs.folder, "p", "s", "embedded"))  # type: ignore[attr-defined]
    await source.start("")
    for _ in range(3):
        runs.parts |= (await source.read(700)).parts
    await source.close()
    assert await runs.run(90) == list(range(2100, 3000))


async def test_a_checkpoint_of_an_older_version_is_understood(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    runs.write("in/a", 1)
    runs.write("in/b", 2, 3, 4)
    runs.write("in/c", 5)
    runs.checkpoint = '{"file":"in/b","offset":18,"line":2}'
    assert await runs.run() == [4, 5]
    runs.write("in/a", 6, mode="a")
    assert await runs.run() == [6]
    assert warnings(caplog) == []
    runs.parts, runs.checkpoint = {}, '{"file":"in/c","offset":900,"line":20}'
    assert await runs.run() == [5]
    assert len(warnings(caplog)) == 1


async def test_a_checkpoint_that_is_not_one_is_one_sentence(runs: Runs) -> None:
    runs.write("in/a", 1)
    runs.checkpoint = "17-0"
    with pytest.raises(ConnectorError, match="cannot be understood: 17-0"):
        await runs.run()
    runs.parts = {"1": "[]"}
    with pytest.raises(ConnectorError, match="cannot be understood"):
        await runs.run()
