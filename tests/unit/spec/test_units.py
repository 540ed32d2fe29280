"""Durations, sizes and backoff ranges."""

from __future__ import annotations

import pytest

from papyra_flow.spec.units import Backoff, format_duration, parse_backoff, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("5s", 5.0), ("1h", 3600.0), ("1.5m", 90.0), ("2d", 172800.0), (0, 0.0)]
)
def test_durations_are_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [20, "20", "ms", "5 parsecs", "-1s", True, None, "", "1h30m"])
def test_a_duration_without_a_known_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 20ms"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("64KiB", 65536), ("10MB", 10_000_000), ("3B", 3), (0, 0)])
def test_sizes_are_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


def test_a_backoff_is_a_range_or_one_duration() -> None:
    assert parse_backoff("200ms..30s") == Backoff(0.2, 30.0)
    assert parse_backoff("1s") == Backoff(1.0, 1.0)
    with pytest.raises(ValueError, match="is longer at first than at last"):
        parse_backoff("30s..1s")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0"), (0.02, "20ms"), (90, "90s"), (120, "2m"), (7200, "2h")])
def test_a_duration_is_written_as_a_file_would(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration(0 if text == "0" else text) == pytest.approx(seconds)
