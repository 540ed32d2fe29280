"""The caretaker of the embedded server: how often it starts it again. That it does is in the e2e tests."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from papyra_flow.errors import EmbeddedServerError
from papyra_flow.streams.embedded.watchdog import OFTEN, Watchdog
from tests.harness.servers import eventually


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """What a server listens on."""
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "s.sock"))
        found.listen()
        yield found


@pytest.mark.parametrize("starts", [True, False])
def test_a_server_that_ends_again_is_started_again_but_not_for_ever(
    listening: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture, starts: bool
) -> None:
    """Whether it ends after it has started, or is gone before that is seen, makes no difference."""
    calls: list[int] = []

    def revive() -> None:
        calls.append(1)
        if not starts:
            raise EmbeddedServerError("the embedded server did not start")

    caretaker = Watchdog(lambda: tmp_path / "s.sock", revive, lambda: True)
    with caplog.at_level(logging.WARNING, "papyra_flow.server"):
        caretaker.begin()
        for _ in range(OFTEN + 1 if starts else 1):
            listening.accept()[0].close()
        eventually(lambda: "keeps exiting" in caplog.text, "giving up")
    assert len(calls) == OFTEN
    caretaker.end()


def test_a_server_that_is_left_to_itself_is_not_started(listening: socket.socket, tmp_path: Path) -> None:
    calls: list[int] = []
    caretaker = Watchdog(lambda: tmp_path / "s.sock", lambda: calls.append(1), lambda: True)
    caretaker.begin()
    caretaker.end()
    assert calls == []
