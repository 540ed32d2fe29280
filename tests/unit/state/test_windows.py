"""Windows: a time is in exactly those that it should be in, also by clocks that are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from papyra_flow.errors import RecordError
from papyra_flow.state.event_time import LAST_TIME, event_time, iso_time
from papyra_flow.state.local_windows import DAY, LocalWindows
from papyra_flow.state.windows import EvenWindows, TimeWindows, Window, WindowForm

HOUR = DAY // 24
FORM: TypeAdapter[Window] = TypeAdapter(WindowForm)
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut"]
times = st.integers(event_time("1995-01-01"), event_time("2030-01-01"))


def bounds(windows: TimeWindows, at: str) -> list[tuple[str, str]]:
    zone = getattr(windows, "_zone", UTC)
    starts = windows.starts_of(event_time(at))
    return [(iso_time(start, zone), iso_time(windows.end_of(start), zone)) for start in starts]


@given(st.integers(-(10**12), 10**13), st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 5000))
@settings(deadline=None)
def test_a_time_is_in_the_windows_that_begin_before_it_and_end_behind_it(
    time: int, every: int, more: int, offset: int
) -> None:
    size = every + more
    windows = EvenWindows(size, every, offset)
    expected = [start for start in range(time - size + 1, time + 1) if (start - offset) % every == 0]
    assert list(windows.starts_of(time)) == expected
    assert all(windows.end_of(start) == start + size for start in expected)


def test_windows_are_aligned_to_the_epoch_unless_they_are_shifted() -> None:
    assert bounds(EvenWindows(60_000), "2024-01-31T12:30:59.999Z") == [
        ("2024-01-31T12:30:00+00:00", "2024-01-31T12:31:00+00:00")
    ]
    assert bounds(EvenWindows(7 * DAY, offset=4 * DAY), "2024-01-31T12:30Z") == [  # weeks from Monday
        ("2024-01-29T00:00:00+00:00", "2024-02-05T00:00:00+00:00")
    ]


@pytest.mark.parametrize(
    ("zone", "size", "at", "start", "end"),
    [
        ("Europe/Berlin", DAY, "2024-03-31T12:00Z", "2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"),
        ("Europe/Berlin", DAY, "2024-10-27T12:00Z", "2024-10-27T00:00:00+02:00", "2024-10-28T00:00:00+01:00"),
        ("Europe/Berlin", 7 * DAY, "2024-10-27T12:00Z", "2024-10-24T00:00:00+02:00", "2024-10-31T00:00:00+01:00"),
        ("Europe/Berlin", HOUR, "2024-10-27T00:30Z", "2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"),
        ("Europe/Berlin", HOUR, "2024-10-27T01:30Z", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"),
        ("Europe/Berlin", 6 * HOUR, "2024-10-27T01:30Z", "2024-10-27T00:00:00+02:00", "2024-10-27T06:00:00+01:00"),
        ("Europe/Berlin", 6 * HOUR, "2024-03-31T01:30Z", "2024-03-31T00:00:00+01:00", "2024-03-31T06:00:00+02:00"),
        ("Asia/Kolkata", HOUR, "2024-01-31T12:45Z", "2024-01-31T18:00:00+05:30", "2024-01-31T19:00:00+05:30"),
        # Midnight is skipped: the day begins at one o'clock.
        ("America/Sao_Paulo", DAY, "2018-11-04T12:00Z", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"),
        # Clocks went from midnight back to eleven: one day of 25 hours.
        ("America/Sao_Paulo", DAY, "2018-02-18T02:30Z", "2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00"),
        # The 30th was skipped.
        ("Pacific/Apia", DAY, "2011-12-30T10:00Z", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"),
        # Clocks went from 00:01 back to 23:01: the next day goes on.
        ("America/St_Johns", DAY, "2010-11-07T03:00Z", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"),
    ],
)
def test_with_a_zone_windows_are_what_its_clocks_show(zone: str, size: int, at: str, start: str, end: str) -> None:
    assert bounds(LocalWindows(ZoneInfo(zone), size), at) == [(start, end)]


@given(st.sampled_from(ZONES), st.sampled_from([HOUR // 2, HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY]), times,
       st.integers(0, 48).map(lambda halves: halves * HOUR // 2))  # fmt: skip
@example("Australia/Lord_Howe", HOUR, event_time("2024-04-06T14:45Z"), 0)
@settings(deadline=None)
def test_windows_of_a_zone_leave_no_gap_and_do_not_overlap(zone: str, size: int, time: int, offset: int) -> None:
    windows = LocalWindows(ZoneInfo(zone), size, offset=offset)
    (start,) = windows.starts_of(time)
    end = windows.end_of(start)
    assert start <= time < end
    assert 0.5 * size <= end - start <= 2 * size
    for other in (start, (start + end) // 2, end - 1):
        assert list(LocalWindows(ZoneInfo(zone), size, offset=offset).starts_of(other)) == [start]
    assert windows.starts_of(end)[0] == end
    shown = datetime.fromisoformat(iso_time(start, ZoneInfo(zone))).replace(tzinfo=UTC)
    aligned = (event_time(shown) - offset) % size == 0
    before = datetime.fromisoformat(iso_time(start - 1, ZoneInfo(zone))).utcoffset()
    assert aligned or before != datetime.fromisoformat(iso_time(start, ZoneInfo(zone))).utcoffset()


@given(st.sampled_from(ZONES), times)
@settings(deadline=None)
def test_windows_of_a_zone_that_overlap_are_of_local_days(zone: str, time: int) -> None:
    tz = ZoneInfo(zone)
    windows = LocalWindows(tz, 3 * DAY, DAY)
    today = windows.starts_of(time)[-1]
    days = [LocalWindows(tz, DAY).starts_of(today)[0]]
    for _ in range(2):
        days.insert(0, LocalWindows(tz, DAY).starts_of(days[0] - 1)[0])
    assert list(windows.starts_of(time)) == days
    ends = [windows.end_of(start) for start in days]
    assert ends == sorted(ends)
    assert ends[0] == LocalWindows(tz, DAY).end_of(today)


def test_windows_that_cannot_be_written_are_the_record_s_failure() -> None:
    for windows in (EvenWindows(DAY), LocalWindows(ZoneInfo("Europe/Berlin"), DAY),
                    LocalWindows(ZoneInfo("Europe/Berlin"), 2 * DAY, DAY)):  # fmt: skip
        with pytest.raises(RecordError, match="not within the years 1 to 9999"):
            windows.starts_of(LAST_TIME)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({}, "either `size`, `gap` or `count`"),
        ({"size": "1m", "gap": "1m"}, "either `size`, `gap` or `count`"),
        ({"gap": "1m", "every": "1m"}, "`every` stands beside `size`"),
        ({"size": "1m", "every": "2m"}, "`every` is at most `size`"),
        ({"size": "1d", "every": "1s"}, "86,400 windows: make `every` at least 86400ms"),
        ("1m30", "a duration such as"),
        ("500us", "whole number of milliseconds"),
        (0, "whole number of milliseconds"),
        ({"count": 0}, "greater than or equal to 1"),
        ({"sise": "1m"}, "Extra inputs"),
    ],
)
def test_a_window_that_means_nothing_is_refused(form: object, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FORM.validate_python(form)


@pytest.mark.parametrize(
    ("form", "words"),
    [("1m", "1m"), ({"size": "5m", "every": "1m"}, "5m every 1m"), ({"gap": "10m"}, "sessions, gap 10m"),
     ({"count": 100}, "100 records")],
)  # fmt: skip
def test_a_window_is_written_short_or_as_a_mapping(form: object, words: str) -> None:
    window = FORM.validate_python(form)
    assert str(window) == words
    assert FORM.validate_python(window.model_dump(mode="json", exclude_none=True)) == window


def test_a_day_has_the_hours_that_it_has() -> None:
    berlin = LocalWindows(ZoneInfo("Europe/Berlin"), DAY)
    lengths = set()
    at = event_time("2024-01-01T12:00Z")
    for _ in range(366):
        (start,) = berlin.starts_of(at)
        lengths.add(timedelta(milliseconds=berlin.end_of(start) - start))
        at += DAY
    assert lengths == {timedelta(hours=23), timedelta(hours=24), timedelta(hours=25)}
