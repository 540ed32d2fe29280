"""Event time from values: each form is the same instant, one by one as in batches, and all else is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import RecordError
from papyra_flow.state.event_time import END_OF_TIME, FIRST_TIME, LAST_TIME, event_time, event_times, iso_time

NOON = 1_706_702_400_000


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2024-01-31T12:00:00Z", NOON),
        ("2024-01-31T12:00:00", NOON),
        ("2024-01-31 13:00+01:00", NOON),
        ("2024-01-31T12:00:00.9999999", NOON + 999),
        ("2024-01-31", NOON - 12 * 3_600_000),
        ("1969-12-31T23:59:59.9999Z", -1),
        (NOON // 1000, NOON),
        (1_706_702_400.001, NOON + 1),
        (Decimal("1706702400.0019"), NOON + 1),
        (0, 0),
        (-0.0005, -1),
        (datetime(2024, 1, 31, 12), NOON),  # noqa: DTZ001 - naive times are what this is about
        (datetime(2024, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))), NOON),
        (date(2024, 1, 31), NOON - 12 * 3_600_000),
        (datetime.min, FIRST_TIME),  # noqa: DTZ901
        (datetime.max.replace(tzinfo=UTC), LAST_TIME),
    ],
)
def test_every_form_is_milliseconds_since_1970(value: object, time: int) -> None:
    assert event_time(value) == time
    assert event_times([value]) == [time]
    assert event_times([value, "2024-01-31T12:00:00Z", 7]) == [time, NOON, 7000]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "None is not a time"),
        (True, "True is not a time"),
        ("yesterday", "'yesterday' is not a time: an event time is ISO 8601 text"),
        ("", "'' is not a time"),
        (float("nan"), "nan is not a time"),
        (Decimal("sNaN"), "nan is not a time"),
        ([1], "[1] is not a time"),
        (NOON, "divide milliseconds by 1000"),
        (1e300, "divide milliseconds by 1000"),
        pytest.param(10**400, "outside the years 1 to 9999", id="a long number"),
        ("9999-12-31T23:59:59-12:00", "outside the years 1 to 9999"),
    ],
)
def test_anything_else_is_a_failure_that_says_what_was_found(value: object, told: str) -> None:
    with pytest.raises(RecordError) as failed:
        event_time(value)
    assert told in str(failed.value)
    good, bad = event_times([5, value])
    assert good == 5000
    assert isinstance(bad, RecordError)
    assert str(bad) == str(failed.value)


def test_no_values_are_no_times() -> None:
    assert event_times([]) == []


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=20), st.booleans())
@settings(deadline=None)
def test_a_batch_is_what_its_values_are(moments: list[datetime], naive: bool) -> None:
    texts = [(moment.replace(tzinfo=None) if naive else moment).isoformat() for moment in moments]
    assert event_times(texts) == [event_time(moment) for moment in moments] == event_times(moments)


@given(st.integers(FIRST_TIME, LAST_TIME))
@settings(deadline=None)
def test_a_time_is_written_so_that_it_is_read_as_the_same(time: int) -> None:
    assert event_time(iso_time(time)) == time
    assert time < END_OF_TIME


def test_times_are_written_in_a_zone() -> None:
    assert iso_time(NOON) == "2024-01-31T12:00:00+00:00"
    assert iso_time(NOON + 5, ZoneInfo("Europe/Berlin")) == "2024-01-31T13:00:00.005+01:00"
    with pytest.raises(RecordError, match="outside the years"):
        iso_time(LAST_TIME + 1)
