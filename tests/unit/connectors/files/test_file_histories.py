"""Files that have a history, before and while they are read: every line of every version arrives once, or it is told.

A machine writes, appends, cuts, replaces, renames, copies and deletes files between runs (and under a run that follows
them), ends runs between reading and committing, and knows by itself what has to come out. Each line is there once in
the whole history, so what is lost, doubled or made up is seen.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from papyra_flow.connectors.base import BadRecord, ConnectorContext
from papyra_flow.connectors.files import file_set
from papyra_flow.connectors.files import source as file_source
from papyra_flow.errors import ConnectorError
from papyra_flow.spec.components import SOURCES, components

NAMES = [f"part-{n}.{kind}" for n in (1, 2, 9, 10) for kind in ("csv",)]
PAD = "x" * 200
"""Lines are so long that a few of them are more than the digests see."""


class Warnings(logging.Handler):
    """What was told."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Histories(RuleBasedStateMachine):
    """One folder of csv files, and a source that is run over them again and again."""

    follow = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.Runner()
        self.told = Warnings()
        logging.getLogger("papyra_flow.source").addHandler(self.told)
        logging.getLogger("papyra_flow.source").setLevel(logging.INFO)
        self.number = 0
        self.parts: dict[str, str] = {}
        self.checkpoint = ""
        self.arrived: Counter[int] = Counter()
        self.cut: Counter[str] = Counter()
        """First versions of lines that had no end."""
        self.allowed: Counter[int] = Counter()
        """How many files each line was written to, as the copy of a file is another one."""
        self.due: Counter[int] = Counter()
        """How often each line has to arrive, as far as a run has seen it."""
        self.again: set[int] = set()
        """Lines that may come once more: what was kept of a file that was cut."""
        self.files: dict[str, list[int]] = {}
        """Each file's complete lines."""
        self.open: dict[str, int] = {}
        """Files whose last line has no end, and which line that is."""
        self.counted: dict[str, int] = {}
        """How many of a file's lines are due."""
        self.copied: set[int] = set()
        """Lines of copies: put under the name of the first one, a copy is not another file."""
        self.renamed: set[str] = set()
        """Files that were renamed since the last run."""
        self.shortened: set[str] = set()
        """Files that were cut since the last run."""
        self.source: Any = None

    def teardown(self) -> None:
        self.kill()
        self.loop.close()
        logging.getLogger("papyra_flow.source").removeHandler(self.told)
        logging.getLogger("papyra_flow.source").setLevel(logging.NOTSET)
        shutil.rmtree(self.folder)

    # -- what happens to files ------------------------------------------------------------------------------------

    def line(self, number: int) -> str:
        return f'{number},"whole {number}\n{PAD if number % 3 else ""}end"\n'

    def text(self, numbers: list[int]) -> str:
        return "n,v\n" + "".join(map(self.line, numbers))

    def fresh(self, count: int) -> list[int]:
        self.allowed.update(range(self.number, self.number + count))
        self.number += count
        return list(range(self.number - count, self.number))

    def listed(self) -> list[str]:
        """The files that the source's pattern names."""
        return sorted(set(self.files) & set(NAMES))

    def poll(self) -> None:
        """Have a run that follows read what is there."""

    def settle(self) -> None:
        """A run that follows sees what is there before it is destroyed."""
        if self.source is not None:
            self.poll()

    def seen(self) -> None:
        """A run has seen all files."""
        self.shortened.clear()
        self.renamed.clear()

    def put(self, name: str, numbers: list[int]) -> None:
        self.files[name], self.counted[name] = numbers, 0
        self.open.pop(name, None)
        self.shortened.discard(name)
        self.renamed.discard(name)

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 40))
    def write(self, name: str, count: int) -> None:
        """In place: the same inode, if there was such a file."""
        self.settle()
        numbers = self.fresh(count)
        (self.folder / name).write_text(self.text(numbers))
        self.put(name, numbers)

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 40))
    def replace(self, name: str, count: int) -> None:
        self.settle()
        numbers = self.fresh(count)
        (self.folder / "new").write_text(self.text(numbers))
        (self.folder / "new").replace(self.folder / name)
        self.put(name, numbers)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), count=st.integers(1, 5))
    def append(self, data: st.DataObject, count: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        rest = ""
        if (number := self.open.pop(name, None)) is not None:
            rest = self.line(number)[len(f'{number},"wh') :]
            self.files[name].append(number)
        numbers = self.fresh(count)
        with (self.folder / name).open("a") as file:
            file.write(rest + "".join(map(self.line, numbers)))
        self.files[name] += numbers

    @precondition(lambda self: self.files.keys() - self.open.keys())
    @rule(data=st.data())
    def append_a_part_of_a_line(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files.keys() - self.open.keys())))
        (number,) = self.fresh(1)
        with (self.folder / name).open("a") as file:
            file.write(f'{number},"wh')
        self.open[name] = number

    @precondition(lambda self: self.listed())
    @rule(data=st.data())
    def cut_it_off(self, data: st.DataObject) -> None:
        """In place, to some of its first lines: what is kept may be sent again, and that is told."""
        self.settle()
        name = data.draw(st.sampled_from(self.listed()))
        kept = self.files[name][: data.draw(st.integers(0, len(self.files[name])))]
        if name not in self.open and kept == self.files[name]:
            return
        self.again.update(kept)
        with (self.folder / name).open("r+") as file:
            file.truncate(len(self.text(kept)))
        if name in self.renamed:  # no part of it is known by name or content any more
            self.allowed.update(kept)
        counted = min(self.counted[name], len(kept))
        self.put(name, kept)
        self.counted[name] = counted
        self.shortened.add(name)

    @precondition(lambda self: self.listed())
    @rule(data=st.data(), other=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, other: str) -> None:
        self.settle()
        name = data.draw(st.sampled_from(self.listed()))
        if name != other and not self.copied & set(self.files[name]):
            if name in self.shortened:  # no part of it is known by its content any more
                self.allowed.update(self.files[name])
            (self.folder / name).rename(self.folder / other)
            self.open.pop(other, None)
            self.files[other], self.counted[other] = self.files.pop(name), self.counted.pop(name)
            self.renamed.add(other)
            self.shortened -= {other}
            if name in self.shortened:
                self.shortened.remove(name)
                self.shortened.add(other)
            if name in self.open:
                self.open[other] = self.open.pop(name)

    @precondition(lambda self: self.listed())
    @rule(data=st.data(), other=st.sampled_from(NAMES))
    def copy(self, data: st.DataObject, other: str) -> None:
        """The same content under another name is another file."""
        self.settle()
        name = data.draw(st.sampled_from(self.listed()))
        if other not in self.files and name not in self.open and not self.copied & set(self.files[name]):
            shutil.copy(self.folder / name, self.folder / other)
            self.put(other, list(self.files[name]))
            self.allowed.update(self.files[name])
            self.copied.update(self.files[name])

    @precondition(lambda self: self.listed())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.settle()
        name = data.draw(st.sampled_from(self.listed()))
        (self.folder / name).unlink()
        del self.files[name], self.counted[name]
        self.open.pop(name, None)

    @precondition(lambda self: any(self.counted[name] for name in self.listed()))
    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        """Rename a file that was begun so that the pattern does not name it, whatever was written to it since."""
        name = data.draw(st.sampled_from([name for name in self.listed() if self.counted[name]]))
        if name not in self.shortened and not self.copied & set(self.files[name]):
            other = f"rotated-{len(self.files)}-{self.number}"
            (self.folder / name).rename(self.folder / other)
            self.files[other], self.counted[other] = self.files.pop(name), self.counted.pop(name)
            if name in self.open:
                self.open[other] = self.open.pop(name)

    # -- what is done with them -----------------------------------------------------------------------------------

    def start(self) -> bool:
        config = components(SOURCES)["csv"].model_validate({"path": "part-*.csv", "follow": self.follow})
        self.source = config.open(ConnectorContext(self.folder, "p", "s", "embedded"))  # type: ignore[attr-defined]
        self.source.restore(dict(self.parts))
        try:
            self.loop.run(self.source.start(self.checkpoint))
        except ConnectorError:
            self.kill()
            if self.listed():
                raise
            return False
        return True

    def kill(self) -> None:
        if self.source is not None:
            self.loop.run(self.source.close())
            self.source = None

    def step(self, count: int, *, commit: bool = True) -> Any:
        portion = self.loop.run(self.source.read(count))
        if not commit:
            return portion
        for item in portion.items:
            if isinstance(item, BadRecord):
                self.cut[item.raw.partition(b",")[0].decode()] += 1  # an open quote, at the end of what is there
                continue
            record = orjson.loads(item)
            if record["v"].endswith("end"):
                self.arrived[int(record["n"])] += 1
                assert record["v"] == f"whole {record['n']}\n{PAD if int(record['n']) % 3 else ''}end"
            else:
                assert record["v"] == "wh", "a record is made of the middle of a line"
                self.cut[record["n"]] += 1
        for part, state in portion.parts.items():
            if state:
                self.parts[part] = state
            else:
                self.parts.pop(part, None)
        self.checkpoint = portion.checkpoint
        return portion

    def all_is_read(self) -> None:
        for name, numbers in self.files.items():
            self.due.update(numbers[self.counted[name] :])
            self.counted[name] = len(numbers)
        missing = {n: self.due[n] for n in self.due if self.arrived[n] < self.due[n]}
        assert not missing, f"lost: {missing}"

    @invariant()
    def nothing_is_there_twice_without_a_word(self) -> None:
        doubled = {n: c for n, c in self.arrived.items() if c > self.allowed[n]}
        if any(word in line for line in self.told.lines for word in ("shorter", "is not the file", "truncated")):
            doubled = {n: c for n, c in doubled.items() if n not in self.again}
        assert not doubled, f"doubled: {doubled}"
        for number in self.cut:
            if number.isdigit() and self.arrived[int(number)]:
                assert any("had no end" in line for line in self.told.lines), "contradicted without a word"


class Runs(Histories):
    """Runs that end."""

    @rule(count=st.sampled_from([1, 3, 500]))
    def run(self, count: int) -> None:
        if self.start():
            while not self.step(count).done:
                pass
            self.kill()
            self.all_is_read()
            self.seen()

    @rule(count=st.sampled_from([1, 3, 20]), portions=st.integers(0, 5))
    def run_and_be_killed(self, count: int, portions: int) -> None:
        if self.start():
            for _ in range(portions):
                if self.step(count).done:
                    break
            self.step(count, commit=False)
            self.kill()


class Follows(Histories):
    """A run that follows the files, and is ended and started again."""

    follow = True

    @precondition(lambda self: self.source is None)
    @rule()
    def follow_them(self) -> None:
        self.start()

    @rule()
    def poll(self) -> None:
        if self.source is None:
            return
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.step(7).items else quiet + 1
        self.all_is_read()
        self.seen()

    @precondition(lambda self: self.source is not None)
    @rule(commit=st.booleans())
    def end(self, commit: bool) -> None:
        self.step(3)
        self.step(3, commit=commit)
        self.kill()

    @rule(count=st.sampled_from([1, 500]))
    def drain(self, count: int) -> None:
        """`--drain`: to the present ends, last lines without an end included."""
        self.kill()
        self.follow = False
        if self.start():
            while not self.step(count).done:
                pass
            self.kill()
            self.all_is_read()
            self.seen()
        self.follow = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits."""
    monkeypatch.setattr(file_source, "POLL_SECONDS", (0, 0))
    monkeypatch.setattr(file_set, "SETTLED_SECONDS", 0)


TestFollows = Follows.TestCase
TestFollows.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
