"""What becomes of a sink's file, whatever happens to it between writes, kills and restarts.

The oracle: a line that others wrote is there as long as they do not take it away; a record that was committed is in
exactly one place, unless its file was taken away, or others wrote behind what a killed run left, so that nothing can be
proven: then it may be there twice, and that is said.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from papyra_flow.connectors.base import ConnectorContext, OpenSink
from papyra_flow.connectors.files import sink_file
from papyra_flow.connectors.jsonl.sink import JsonlSink

NAMES = ("a.jsonl", "b.jsonl")
_write = os.write


class KilledError(BaseException):
    """The process was killed."""


class Told(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class SinkHistory(RuleBasedStateMachine):
    """One stage's sink, its lease, a second stage that writes the same files, and people who do as they like."""

    attributes = True
    records = Bundle("records")

    @initialize()
    def begin(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.loop = asyncio.new_event_loop()
        self.patches: list[Any] = [mock.patch.object(sink_file, "MAX_PIECE", 3 * 4096)]
        if not self.attributes:
            refused = OSError(errno.ENOTSUP, "not supported")
            self.patches += [
                mock.patch("os.setxattr", side_effect=refused),
                mock.patch("os.getxattr", side_effect=refused),
            ]
        for patch in self.patches:
            patch.start()
        self.told = Told()
        logging.getLogger("papyra_flow.sink").addHandler(self.told)
        self.sink: OpenSink | None = None
        self.lost = 0
        self.path = NAMES[0]
        self.checkpoint = ""
        self.other_checkpoint = dict.fromkeys(NAMES, "")
        self.number = 0
        self.waiting: list[tuple[int, int]] = []
        self.committed: list[int] = []
        self.history: list[tuple[str, int]] = []
        """Checkpoints that the server may fall back to, each with how many records were committed then."""
        self.foreign: set[str] = set()
        self.taken_away: set[int] = set()
        self.disturbances = 0
        """How many of these are from before others wrote to the file."""
        self.left: set[Path] = set()
        """Files in which a write may stand that is not committed."""
        self.doubt = False

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.kill()
            self.start()
            self.write(1, 0)
            self.judge(at_end=True)
        finally:
            self.kill()
            logging.getLogger("papyra_flow.sink").removeHandler(self.told)
            for patch in self.patches:
                patch.stop()
            self.loop.close()
            self._temporary.cleanup()

    # -- the stage --------------------------------------------------------------------------------------------

    def opened(self, name: str, stage: str = "s") -> OpenSink:
        context = ConnectorContext(self.folder, "p", stage, "", keep=self.keep, lost=self.note_lost)
        return JsonlSink(path=name, fsync=False).open(context)

    async def keep(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.forget_history()

    def note_lost(self, records: int) -> None:
        self.lost += records

    def start(self) -> None:
        self.sink = self.opened(self.path)
        self.loop.run_until_complete(self.sink.lock())
        self.checkpoint = self.loop.run_until_complete(self.sink.start(self.checkpoint))
        self.left.clear()

    @precondition(lambda self: self.sink is None)
    @rule(name=st.sampled_from(NAMES))
    def restart(self, name: str) -> None:
        if name != self.path:
            self.forget_history()
        self.path = name
        self.start()

    @precondition(lambda self: self.sink is not None)
    @rule(count=st.integers(1, 3), size=st.sampled_from([0, 0, 100, 5000, 40_000]))
    def write(self, count: int, size: int) -> None:
        """A batch is written and committed."""
        self.checkpoint = self.written(count, size)
        assert self.sink is not None
        self.sink.committed()
        self.left.clear()
        self.history.append((self.checkpoint, len(self.committed)))
        self.committed += [number for number, _ in self.waiting]
        self.waiting.clear()

    @precondition(lambda self: self.sink is not None)
    @rule(count=st.integers(1, 3), size=st.sampled_from([0, 100, 5000, 40_000]))
    def write_in_vain(self, count: int, size: int) -> None:
        """A batch is written, and its commit refused."""
        self.written(count, size)
        self.left.add(self.current)

    @precondition(lambda self: self.sink is not None)
    @rule(size=st.sampled_from([3000, 9000, 40_000]), pages=st.integers(0, 12))
    def killed_while_it_writes(self, size: int, pages: int) -> None:
        """The process ends when it has written up to some page of the file."""

        def torn(descriptor: int, data: Any) -> int:
            at = os.fstat(descriptor).st_size
            border = (at // 4096 + pages) * 4096
            if border >= at + len(data):
                return _write(descriptor, data)
            _write(descriptor, data[: max(0, border - at)])
            raise KilledError

        with mock.patch("os.write", torn), suppress(KilledError):
            self.written(2, size)
        self.left.add(self.current)
        self.kill()

    def written(self, count: int, size: int) -> str:
        assert self.sink is not None
        for _ in range(count):
            self.number += 1
            self.waiting.append((self.number, size))
        chunks = [(b"%d" % n, self.sink.encode({"n": n, "pad": "x" * size}, None)) for n, size in self.waiting]
        return self.loop.run_until_complete(self.sink.write(chunks))

    @property
    def current(self) -> Path:
        return self.folder / self.path

    @rule()
    def kill(self) -> None:
        """The process ends, whatever is committed of what it wrote."""
        if self.sink is not None:
            self.loop.run_until_complete(self.sink.close())
            self.sink = None

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def server_loses_commits(self, data: st.DataObject) -> None:
        """The stage finds its lease where it was before, and what was committed since comes again."""
        self.fall_back(data.draw(st.integers(0, len(self.history) - 1)))

    def fall_back(self, back: int) -> None:
        self.kill()
        self.doubt |= back < self.disturbances
        self.checkpoint = self.history[back][0]
        # Only what was committed after that checkpoint's batch comes again.
        count = self.history[back + 1][1] if back + 1 < len(self.history) else len(self.committed)
        self.waiting = [(number, 0) for number in self.committed[count:]] + self.waiting
        del self.committed[count:], self.history[back + 1 :]
        self.disturbances = min(self.disturbances, len(self.history))
        self.left.add(self.current)
        self.start()

    # -- others -----------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), end=st.sampled_from(["\n", "\n", ""]), size=st.sampled_from([0, 100, 9000]))
    def somebody_appends(self, name: str, end: str, size: int) -> None:
        self.disturbed(self.folder / name)
        self.number += 1
        line = orjson.dumps({"foreign": self.number, "pad": "y" * size}).decode()
        path = self.folder / name
        begun = path.read_text() if path.exists() else ""
        with path.open("a") as file:
            file.write(("\n" if begun and not begun.endswith("\n") else "") + line + end)
        self.foreign.add(line)

    @precondition(lambda self: self.sink is None)
    @rule(name=st.sampled_from(NAMES))
    def another_stage_writes(self, name: str) -> None:
        self.disturbed(self.folder / name)
        sink = self.opened(name, "other")
        self.loop.run_until_complete(sink.lock())
        self.loop.run_until_complete(sink.start(self.other_checkpoint[name]))
        self.number += 1
        chunk = sink.encode({"foreign": self.number}, None)
        self.other_checkpoint[name] = self.loop.run_until_complete(sink.write([(b"1", chunk)]))
        sink.committed()
        self.loop.run_until_complete(sink.close())
        self.foreign.add(chunk.decode().strip())

    @rule(name=st.sampled_from(NAMES))
    def somebody_renames(self, name: str) -> None:
        path = self.folder / name
        if path.exists():
            self.number += 1
            self.forget_history()
            target = path.rename(self.folder / f"{name}.{self.number}")
            if path in self.left:
                self.doubt |= not self.attributes  # its notes are under the name that it had
                self.left.add(target)
                self.left.discard(path)

    @rule(name=st.sampled_from(NAMES), how=st.sampled_from(["delete", "empty", "replace", "halve"]))
    def somebody_takes_away(self, name: str, how: str) -> None:
        path = self.folder / name
        if not path.exists():
            return
        self.forget_history()
        if how in {"empty", "halve"} or path in self.left:
            self.disturbed(path)
        self.forget(path)
        if how == "delete":
            path.unlink()
        elif how == "replace":
            path.unlink()
            self.number += 1
            line = orjson.dumps({"foreign": self.number}).decode()
            path.write_text(line + "\n")
            self.foreign.add(line)
        else:
            data = path.read_bytes()
            os.truncate(path, 0 if how == "empty" else len(data) // 2)

    def forget_history(self) -> None:
        self.history.clear()
        self.disturbances = 0

    def forget(self, path: Path) -> None:
        """All of a file may be gone."""
        for line in path.read_text().splitlines():
            self.foreign.discard(line)
            try:
                self.taken_away.add(orjson.loads(line).get("n"))
            except orjson.JSONDecodeError:
                continue

    def disturbed(self, path: Path) -> None:
        """Others changed a file: what stands in it and is not committed cannot be told from theirs any more."""
        self.disturbances = len(self.history)
        if path in self.left:
            self.doubt = True

    # -- the oracle -------------------------------------------------------------------------------------------

    @invariant()
    def judge(self, *, at_end: bool = False) -> None:
        if not hasattr(self, "loop"):
            return
        lines = [line for path in self.folder.iterdir() if path.name[0] != "." for line in _lines(path)]
        counted = Counter(lines)
        for line in self.foreign:
            assert counted[line] == 1, f"a line of others is there {counted[line]} times: {line[:80]}"
        numbers = Counter(number for line in lines if (number := _number(line)) is not None)
        for number in self.committed:
            assert numbers[number] or number in self.taken_away, f"{number} was committed, and is not there"
        if at_end:
            twice = [number for number in self.committed if numbers[number] > 1]
            assert self.doubt or not twice, f"there twice: {twice}; told: {self.told.messages}"
            if twice:
                assert any("duplicated" in message or "twice" in message for message in self.told.messages), (
                    self.told.messages
                )


class SinkHistoryWithoutAttributes(SinkHistory):
    """The same where the file system keeps no attributes."""

    attributes = False


def _lines(path: Path) -> Sequence[str]:
    return path.read_text().splitlines()


def _number(line: str) -> int | None:
    try:
        found: int | None = orjson.loads(line).get("n")
    except orjson.JSONDecodeError:
        return None
    return found


@pytest.fixture(params=[SinkHistory, SinkHistoryWithoutAttributes])
def history(request: pytest.FixtureRequest) -> Iterator[SinkHistory]:
    """A history that a test writes itself; it is judged at its end."""
    found: SinkHistory = request.param()
    found.begin()
    found.restart(name="a.jsonl")
    yield found
    found.teardown()


def test_what_others_wrote_between_two_runs_stays_when_the_server_loses_both(history: SinkHistory) -> None:
    history.write(count=1, size=0)
    history.kill()
    history.somebody_appends(name="a.jsonl", end="\n", size=0)
    history.restart(name="a.jsonl")
    history.write(count=2, size=0)
    history.fall_back(0)
    assert "foreign" in history.current.read_text()


def test_commits_are_taken_back_behind_a_torn_write_that_was_taken_back_before(history: SinkHistory) -> None:
    history.write(count=1, size=0)
    history.write(count=1, size=0)
    history.killed_while_it_writes(size=9000, pages=4)
    history.restart(name="a.jsonl")
    history.fall_back(0)


def test_commits_to_a_file_that_the_server_has_forgotten_are_taken_back(history: SinkHistory) -> None:
    history.write(count=1, size=0)
    before = history.checkpoint
    history.kill()
    history.restart(name="b.jsonl")
    history.write(count=2, size=0)
    history.kill()
    history.checkpoint = before
    history.waiting = [(number, 0) for number in history.committed[1:]]
    del history.committed[1:]
    history.start()


_SETTINGS = settings(deadline=None, max_examples=60, stateful_step_count=25)
TestSinkHistory = pytest.mark.timeout(300)(SinkHistory.TestCase)
TestSinkHistory.settings = _SETTINGS
TestSinkHistoryWithoutAttributes = pytest.mark.timeout(300)(SinkHistoryWithoutAttributes.TestCase)
TestSinkHistoryWithoutAttributes.settings = _SETTINGS
