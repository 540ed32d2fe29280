"""What goes to standard output arrives whole, also where a write takes only a part of it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
