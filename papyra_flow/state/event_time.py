"""Event time: when a record says that it happened, as milliseconds since 1970 in UTC.

What says it is a value of the record: ISO 8601 text, a date or datetime, or seconds since 1970 as a number. Times
without an offset are UTC; what is finer than a millisecond is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.records.values import utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST_TIME = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
"""The first event time that there is: the first millisecond of the year 1."""
LAST_TIME = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
"""The last one: that of the year 9999."""
END_OF_TIME = 2**53 - 1
"""The watermark of an input that has ended: later than any event time, and exact as a score of a sorted set."""

_MOST_SECONDS = LAST_TIME // 1000
_EXPECTED = "an event time is ISO 8601 text, a date or datetime, or seconds since 1970"


def event_time(value: object) -> int:
    """When a value says that it happened; raises RecordError for one that says nothing of the kind."""
    if isinstance(value, str):
        try:
            return _of_datetime(datetime.fromisoformat(value))
        except ValueError:
            raise RecordError(f"{shown(value)} is not a time: {_EXPECTED}") from None
    if isinstance(value, datetime):
        if value != value:  # noqa: PLR0124 - pandas' NaT
            raise RecordError(f"{value} is not a time: {_EXPECTED}")
        return _of_datetime(value)
    if isinstance(value, date):
        return _of_datetime(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _of_number(value)
    raise RecordError(f"{shown(value)} is not a time: {_EXPECTED}")


def event_times(values: Sequence[object]) -> list[int | RecordError]:
    """When each of these values says that it happened, or why it does not say."""
    try:
        return [*_of_one_kind(values)]
    except (RecordError, ValueError, OverflowError, TypeError):
        return [_time_or_error(value) for value in values]


def iso_time(milliseconds: int, zone: tzinfo = UTC) -> str:
    """A time as ISO 8601 in a zone; raises RecordError for one outside the years 1 to 9999."""
    try:
        moment = (EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)
    except OverflowError:
        raise RecordError(f"a time is outside the years 1 to 9999: {milliseconds} ms since 1970") from None
    return moment.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds")


def _of_one_kind(values: Sequence[object]) -> Sequence[int]:
    """The same for many values of one type, which costs less; raises any of several exceptions if one has no time."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return _within([1000 * value for value in values])  # type: ignore[operator]
    if kinds == {str}:
        parsed = list(map(datetime.fromisoformat, values))  # type: ignore[arg-type]
        zones = {moment.tzinfo is None for moment in parsed}
        if len(zones) == 1:
            start = EPOCH.replace(tzinfo=None) if True in zones else EPOCH
            return _within([(moment - start) // MILLISECOND for moment in parsed])
    return list(map(event_time, values))


def _time_or_error(value: object) -> int | RecordError:
    try:
        return event_time(value)
    except RecordError as exc:
        return exc


def _of_datetime(moment: datetime) -> int:
    return _within([(utc(moment) - EPOCH) // MILLISECOND])[0]


def _of_number(seconds: float | Decimal) -> int:
    """The nearest microsecond decides, since a float has no finer ones: 1.001 is 1001 ms."""
    if isinstance(seconds, Decimal) and not seconds.is_finite():
        seconds = math.nan
    if isinstance(seconds, float) and not math.isfinite(seconds):
        raise RecordError(f"{seconds} is not a time: {_EXPECTED}")
    if not -_MOST_SECONDS <= seconds <= _MOST_SECONDS:
        raise RecordError(f"{shown(seconds)} seconds since 1970 are outside the years 1 to 9999: "
                          "divide milliseconds by 1000")  # fmt: skip
    return _within([seconds * 1000 if isinstance(seconds, int) else round(seconds * 1_000_000) // 1000])[0]


def _within(times: list[int]) -> list[int]:
    """Times that are all in the years that there are; raises RecordError if one is not."""
    for time in (min(times, default=0), max(times, default=0)):
        if not FIRST_TIME <= time <= LAST_TIME:
            raise RecordError(f"a time is outside the years 1 to 9999: {time} ms since 1970")
    return times
