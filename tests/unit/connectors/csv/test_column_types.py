"""What a column's text becomes: exact values, and a sentence for all that does not say one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.connectors.csv.column_types import Columns, ColumnType
from papyra_flow.errors import RecordError


def value(kind: ColumnType, text: str) -> object:
    return Columns(["c"], {"c": kind}).values([text])[0]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int", "9" * 40, int("9" * 40)),
        ("int", " -07 ", -7),
        ("float", "-1.5e3", -1500.0),
        ("bool", "Yes", True),
        ("decimal", "0.10", Decimal("0.10")),
        ("decimal", "-12345678901234567890.123456789", Decimal("-12345678901234567890.123456789")),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("date", "20240229", date(2024, 2, 29)),
        ("datetime", "2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("datetime", "2024-02-29 12:30", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        ("datetime", "2024-02-29T12:30:01.5Z", datetime(2024, 2, 29, 12, 30, 1, 500_000, tzinfo=UTC)),
        ("datetime", "2024-02-29t12:30:01,123456000z", datetime(2024, 2, 29, 12, 30, 1, 123_456, tzinfo=UTC)),
        ("datetime", "2024-02-29T12:30+02:00", datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_text_becomes_the_value_that_it_says(kind: ColumnType, text: str, expected: object) -> None:
    found = value(kind, text)
    assert found == expected
    assert type(found) is type(expected)
    assert str(found) == str(expected)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("int", ["", "1.0", "1,000", "1_000", "1 000", "0x10", "١٢", "1e3", "9" * 5000]),
        ("float", ["", "nan", "inf", "-Infinity", "1e999", "1_0.5", "1,5", "١٢"]),
        ("bool", ["", "2", "truth"]),
        ("decimal", ["", "NaN", "Infinity", "1_0", "1,5", "١٢", "1e9999999999", "sNaN"]),
        ("date", ["", "2024-02-30", "29.02.2024", "2024-02-29T00:00", "today"]),
        ("datetime", ["", "2024-02-29T25:00", "2024-02-29T12:30:01.1234567", "1700000000", "2024-02-29x12:30", "٢٠٢٤"]),
    ],
)
def test_text_that_does_not_say_such_a_value_is_refused(kind: ColumnType, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(RecordError, match=f"in column 'c' is not an? {kind}") as raised:
            value(kind, text)
        assert len(str(raised.value)) < 250


@given(st.integers(), st.decimals(allow_nan=False, allow_infinity=False), st.datetimes(timezones=st.timezones()))
def test_what_python_writes_is_read_as_it_was(number: int, decimal: Decimal, moment: datetime) -> None:
    assert value("int", str(number)) == number
    assert str(value("decimal", str(decimal))) == str(decimal)
    assert value("date", moment.date().isoformat()) == moment.date()
    assert value("datetime", moment.isoformat()) == moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta(0)))


def test_null_is_what_is_named_so_and_what_is_empty_only_where_that_is_said() -> None:
    types: dict[str, ColumnType] = {"b": "int"}
    assert Columns("ab", types, ["NA", ""]).values(["NA", ""]) == [None, None]
    assert Columns("ab", types, empty_is_null=True).values(["", ""]) == ["", None]
    with pytest.raises(RecordError, match="'' in column 'b' is not an int"):
        Columns("ab", types).values(["", ""])
