"""Dates and times in expressions: naive times are UTC, whatever the machine's zone, and formats are bounded."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from papyra_flow.errors import ExpressionError

MAX_FORMAT = 200
_WIDE = re.compile(r"\d{4}")
_LOCAL = re.compile(r"%[-_0^#EO]*\d*s")

ATTRIBUTES = {
    "year": (date,), "month": (date,), "day": (date,), "hour": (datetime, time), "minute": (datetime, time),
    "second": (datetime, time), "microsecond": (datetime, time), "days": (timedelta,), "seconds": (timedelta,),
}  # fmt: skip
"""What may be asked of dates, times and spans without calling it, and of which."""


def date_of(text: str | date) -> date:
    """`date(text)`: a day, of its ISO form or of a time in UTC."""
    if isinstance(text, datetime):
        return in_utc(text).date()
    return text if isinstance(text, date) else date.fromisoformat(text)


def datetime_of(text: str | date) -> datetime:
    """`datetime(text)`: a point in time, from its ISO form; without an offset it is UTC."""
    if isinstance(text, datetime):
        return in_utc(text)
    if isinstance(text, date):
        return datetime(text.year, text.month, text.day, tzinfo=UTC)
    return in_utc(datetime.fromisoformat(text))


def timedelta_of(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> timedelta:
    """`timedelta(days=..., hours=..., minutes=..., seconds=...)`."""
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def in_utc(moment: datetime) -> datetime:
    """The time, in UTC where it has no offset."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def strftime(moment: Any, form: str) -> Any:
    """`moment.strftime(form)`."""
    if isinstance(form, str) and (wrong := wrong_format(form)):
        raise ExpressionError(wrong)
    return moment.strftime(form)


def timestamp(moment: Any) -> Any:
    """`moment.timestamp()`, the seconds since 1970 began in UTC."""
    return (in_utc(moment) if isinstance(moment, datetime) else moment).timestamp()


def wrong_format(form: str) -> str | None:
    """What is wrong with a format of dates or of numbers, if anything is."""
    if len(form) > MAX_FORMAT or _WIDE.search(form):
        return "a format may be at most 999 wide, and must be a literal"
    if _LOCAL.search(form):
        return "the format %s depends on the machine's zone: use timestamp()"
    return None
