"""The first signal of a run asks it to stop, whatever the main thread is doing at that moment."""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import sys

import pytest

from papyra_flow.runtime.process.signals import Signals


class Interrupted(io.RawIOBase):
    """A file during whose first write a signal arrives."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        before, self.data = self.data, self.data + bytes(data)
        if not before:
            signal.raise_signal(signal.SIGTERM)
        return len(data)


async def test_a_signal_that_interrupts_the_log_stops_the_run_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffered file takes no second write while the first one is under way."""
    raw = Interrupted()
    stream = io.TextIOWrapper(io.BufferedWriter(raw), write_through=True)  # type: ignore[type-var]
    monkeypatch.setattr(sys, "stderr", stream)  # where the log says that it cannot write
    log, handler, stopped = logging.getLogger("papyra_flow"), logging.StreamHandler(stream), asyncio.Event()
    log.addHandler(handler)
    try:
        with Signals(stopped.set, stopped.set):
            log.warning("a line")
            await stopped.wait()
    finally:
        log.removeHandler(handler)
    assert [line.partition(":")[0] for line in raw.data.decode().splitlines()] == ["a line", "stopping"]
