"""What a step takes from the process is put back, so that the run can go on."""

from __future__ import annotations

import resource
import sys
import threading

import pytest

from papyra_flow.runtime.services.belongings import Belongings


def test_threads_can_be_started_after_a_step_removed_the_excepthook(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    belongings = Belongings()
    try:
        monkeypatch.setattr(sys, "excepthook", None)
        belongings.look("a")
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        assert "a step removed sys.excepthook; restored" in caplog.text
    finally:
        belongings.close()


def test_a_limit_that_a_step_lowered_is_what_it_was_and_one_that_it_raised_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    belongings = Belongings()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 10, hard))
        belongings.look("a")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
        assert "a: a step lowered RLIMIT_NOFILE; restored" in caplog.text
    finally:
        belongings.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 10, hard))
    belongings = Belongings()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        belongings.look("a")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    finally:
        belongings.close()
