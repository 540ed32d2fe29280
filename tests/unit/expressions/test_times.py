"""Dates and times in expressions: in UTC unless they say otherwise, whatever the machine's zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.compiled import compile_expression


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def value(text: str, **record: Any) -> object:
    return compile_expression(text).one(record)


@pytest.mark.usefixtures("_zone")
def test_naive_times_are_utc_whatever_the_machines_zone() -> None:
    assert value("datetime(t)", t="2024-01-31T12:00:00") == datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert value("datetime(t).timestamp()", t="2024-01-31T12:00:00") == 1706702400.0
    assert value("t.timestamp()", t=datetime(2024, 1, 31, 12)) == 1706702400.0  # noqa: DTZ001 - as tables have them
    assert value("datetime(t).isoformat()", t="2024-01-31") == "2024-01-31T00:00:00+00:00"
    assert value("date(datetime(t)).isoformat()", t="2024-01-31T23:30:00") == "2024-01-31"
    assert value("f'{datetime(t):%d.%m.%Y %H:%M %z}'", t="2024-01-31T23:30:00") == "31.01.2024 23:30 +0000"
    assert value("datetime(t) < datetime(u)", t="2024-01-31T12:00:00", u="2024-01-31T12:00:00-01:00") is True


ZONES: st.SearchStrategy[Any] = st.sampled_from([None, UTC, timezone(timedelta(hours=5))])


@given(st.datetimes(datetime(1000, 1, 1), timezones=ZONES))  # noqa: DTZ001
def test_any_moment_is_read_formatted_and_subtracted_as_in_python(moment: datetime) -> None:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    text = moment.isoformat()
    assert value("datetime(t)", t=text) == aware
    assert value("f'{datetime(t):%Y-%m-%dT%H:%M:%S}'", t=text) == aware.strftime("%Y-%m-%dT%H:%M:%S")
    assert value("datetime(t).strftime('%d/%m/%y %j')", t=text) == aware.strftime("%d/%m/%y %j")
    assert (
        value("(datetime(t) - datetime('2000-01-01')).days", t=text) == (aware - datetime(2000, 1, 1, tzinfo=UTC)).days
    )
    assert value("datetime(t).date()", t=text) == aware.date()
    assert value("[datetime(t).year, datetime(t).hour, datetime(t).weekday()]", t=text) == [
        aware.year, aware.hour, aware.weekday()
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%A", "%j", ">12", "%%", "%Y-%m-%dT%H:%M:%SZ"])
def test_every_ordinary_format_of_a_date_works_in_every_way_to_write_it(form: str) -> None:
    day = date(2024, 1, 31)
    assert value(f"f'{{date(d):{form}}}'", d="2024-01-31") == f"{day:{form}}"
    assert value("date(d).strftime(f)", d="2024-01-31", f=form) == day.strftime(form)
    assert value("[f'{date(d):%d}' for d in days]", days=["2024-01-31"]) == ["31"]


@pytest.mark.parametrize("text", ["f'{datetime(t):%s}'", "datetime(t).strftime('%s')", "datetime(t).strftime('%_9s')"])
def test_a_format_that_depends_on_the_zone_is_refused_when_the_file_is_loaded(text: str) -> None:
    with pytest.raises(ValueError, match=r"use timestamp\(\)"):
        compile_expression(text)


@pytest.mark.parametrize("form", ["%9999d", "x" * 201, "%s", "%-5s"])
def test_a_format_from_a_field_is_bounded_too(form: str) -> None:
    with pytest.raises(ExpressionError, match="format"):
        value("date(d).strftime(f)", d="2024-01-31", f=form)


@pytest.mark.parametrize(
    "text", ["date(d).hour", "name.year", "date(d).max", "date(d).fromtimestamp", "d.resolution",
             "(date(d) - date(d)).year"]
)  # fmt: skip
def test_only_what_is_documented_is_asked_of_a_date(text: str) -> None:
    with pytest.raises(ExpressionError, match="which has no fields"):
        value(text, d="2024-01-31", name="x")


@pytest.mark.parametrize("text", ["date(d).__class__", "date(d).strptime('1', '2')", "date.today()", "datetime.now()"])
def test_what_is_not_a_value_of_the_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|unknown function"):
        compile_expression(text)


def test_a_field_named_like_an_attribute_is_still_the_field() -> None:
    assert value("a.year + a.days", a={"year": 1, "days": 2}) == 3
