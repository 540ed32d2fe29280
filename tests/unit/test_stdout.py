"""What goes to standard output arrives whole, also where a write takes only a part of it."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from papyra_flow.stdout import mend_stdout, write_whole


class Reluctant(io.RawIOBase):
    """A file that takes seven bytes at a time, as a pipe may when a signal comes."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)[:7]  # type: ignore[call-overload]
        self.taken += part
        return len(part)


@contextmanager
def reluctant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reluctant]:
    """Standard output that is such a file; put there in the test itself, because pytest has its own before it."""
    bare = Reluctant()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(bare, "utf-8", write_through=True))  # type: ignore[type-var]
        yield bare


def test_bytes_are_written_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with reluctant(monkeypatch) as bare:
        write_whole(b"0123456789" * 10)
    assert bare.taken == b"0123456789" * 10


def test_print_writes_whole_once_it_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    with reluctant(monkeypatch) as bare:
        mend_stdout()
        print("0123456789" * 10)
    assert bare.taken == b"0123456789" * 10 + b"\n"


def test_the_command_mends_it() -> None:
    """Enough that the pipe is full several times, and Python told not to buffer."""
    found = subprocess.run(
        [sys.executable, "-u", "-m", "papyra_flow", "schema"], capture_output=True, check=True, text=True
    )
    assert found.stdout.rstrip().endswith("}")


@pytest.mark.parametrize("verb", [["schema"], ["init", "{folder}/new"], ["--help"]])
@pytest.mark.parametrize("closed", [False, True])
def test_output_that_cannot_be_written_is_one_sentence_and_a_failure(
    verb: list[str], closed: bool, tmp_path: Path
) -> None:
    arguments = shlex.join([sys.executable, "-m", "papyra_flow", *(word.format(folder=tmp_path) for word in verb)])
    found = subprocess.run(
        ["sh", "-c", f"{arguments} >{'&-' if closed else '/dev/full'}"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    reason = "Bad file descriptor" if closed else "No space left on device"
    assert found.stderr == f"papyra-flow: cannot write to standard output: {reason}\n"


def test_closed_errors_do_not_end_among_the_output() -> None:
    found = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -m papyra_flow validate nowhere.yml 2>&- <&-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stdout, found.stderr) == (2, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_characters_that_an_encoding_does_not_have_are_escaped(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text('pipeline: p\nstages: {a: {read: {jsonl: "日.jsonl"}, to: s}}\n', encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-m", "papyra_flow", "graph", "p.yml", "-f", "ascii"],
        cwd=tmp_path, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"\\u65e5.jsonl" in found.stdout
