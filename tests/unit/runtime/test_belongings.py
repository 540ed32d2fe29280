"""What a step takes from the process is put back, so that the run can go on."""

from __future__ import annotations

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
