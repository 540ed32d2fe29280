"""A run's summary has a column for what is rare only where it happened."""

from __future__ import annotations

import pytest

from papyra_flow.cli.verbs.deploy.run import _print_summary
from papyra_flow.observe.counters import RunCounters
from papyra_flow.runtime.process.options import RunResult


@pytest.mark.parametrize("happened", [(), ("claimed",), ("lost",), ("claimed", "lost")])
def test_claimed_and_lost_are_shown_where_there_are_any(
    happened: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    counters = RunCounters.of(["a", "b"])
    for number, name in enumerate(happened):
        setattr(counters.stages["b"], name, 4321 + number)
    _print_summary(RunResult("drained", 1.0, counters, {}), to_stderr=False)
    out = capsys.readouterr().out
    for name in ("claimed", "lost"):
        assert (name in out) == (name in happened)
    assert [f"{4321 + number:,}" in out for number, _ in enumerate(happened)] == [True] * len(happened)
