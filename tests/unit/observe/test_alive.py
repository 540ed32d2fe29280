"""Who lives is told by reports that are renewed, whatever the server's clock says."""

from __future__ import annotations

from papyra_flow.observe.reports import GONE_AFTER_SECONDS, Alive, Report


def workers(found: list[Report]) -> list[str]:
    return [report.worker for report in found]


def test_a_report_that_is_not_renewed_is_of_a_process_that_is_gone_although_it_looks_new() -> None:
    alive = Alive()
    for beat in range(10):
        reports = [Report("dead", 0.0, b"same", 0.0), Report("lives", 0.0, b"%d" % beat, 0.0)]
        found = alive.of(reports, beat * GONE_AFTER_SECONDS / 4)
        assert workers(found) == (["dead", "lives"] if beat <= 4 else ["lives"])


def test_a_process_that_comes_back_lives() -> None:
    alive = Alive()
    alive.of([Report("w", 0.0, b"1", 0.0)], 0.0)
    assert alive.of([Report("w", 0.0, b"1", 0.0)], 2 * GONE_AFTER_SECONDS) == []
    assert workers(alive.of([Report("w", 0.0, b"2", 0.0)], 2 * GONE_AFTER_SECONDS)) == ["w"]
