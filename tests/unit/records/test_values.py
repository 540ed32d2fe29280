"""The form that each type has in JSON is exact, or the value is refused with its place."""

from __future__ import annotations

import base64
import enum
import json
import math
import os
import time
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from papyra_flow.errors import RecordError
from papyra_flow.records.durations import iso_duration
from papyra_flow.records.entries import decode_json, encode_fields, encode_json
from papyra_flow.records.json_codec import read_json, write_json, write_records
from papyra_flow.records.values import decimal_form, json_form, refuse_non_finite


class Color(enum.Enum):
    RED = "red"
    BAD = math.nan


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: object
    _hidden: int = 7


class Model(BaseModel):
    x: float


Pair = namedtuple("Pair", "a b")
UNFIT = [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("-Infinity"), Color.BAD, 1j, object()]

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
records = st.dictionaries(st.text(), values, max_size=5)


@settings(deadline=None)
@given(records)
def test_what_json_has_types_for_comes_back_as_it_was(record: dict[str, Any]) -> None:
    encoded = encode_json(record)
    assert decode_json((b"data", encoded)) == record == json.loads(encoded)
    assert repr(decode_json((b"data", encoded))) == repr(record)  # 1 is not 1.0, nor True
    assert write_records([record, record]) == [encoded, encoded]


@settings(deadline=None)
@given(st.integers(min_value=-(10**60), max_value=10**60), records)
def test_an_integer_of_any_size_is_that_integer(number: int, record: dict[str, Any]) -> None:
    for changed in ({**record, "n": number}, {"n": {"m": [number]}}):
        assert read_json(encode_json(changed)) == changed
    assert read_json(b'{"n": %d}' % number) == {"n": number}
    assert encode_fields({"n": number}) == [b"n", b"%d" % number]


@settings(deadline=None)
@given(records, st.sampled_from(UNFIT), st.sampled_from(["plain", "list", "dict", "tuple", "dataclass", "set"]))
def test_what_json_cannot_hold_is_refused_wherever_it_is(record: dict[str, Any], bad: Any, place: str) -> None:
    inside = {
        "plain": bad, "list": [None, bad], "dict": {"y": bad}, "tuple": (bad,), "dataclass": Point(bad), "set": {bad},
    }[place]  # fmt: skip
    unfit = {**record, "x": inside}
    with pytest.raises(RecordError, match="the field 'x"):
        encode_json(unfit)
    with pytest.raises(RecordError, match="the field 'x"):
        encode_fields(unfit)
    assert write_records([{"fine": None}, unfit]) is None


def test_the_place_is_named() -> None:
    with pytest.raises(RecordError, match=r"^the field 'a\.b\[1\]\.c' is inf, which is not a number that JSON has$"):
        encode_json({"a": {"b": [0, {"c": math.inf}]}})


@settings(deadline=None)
@given(
    st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(places=2, min_value=-(10**12), max_value=10**12)
)
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    form = decimal_form(value)
    assert Decimal(repr(form) if not isinstance(form, str) else form) == value
    assert isinstance(read_json(write_json({"v": value}))["v"], type(form))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal(5), b"5"),
        (Decimal("1E+3"), b"1000"),
        (Decimal("1.10"), b"1.1"),
        (Decimal("5.00"), b"5.0"),
        (Decimal("0.12345678901234567890"), b'"0.12345678901234567890"'),
        (Decimal("1E-9999"), b'"1E-9999"'),
        (date(2024, 2, 29), b'"2024-02-29"'),
        (datetime(2024, 1, 1, 12), b'"2024-01-01T12:00:00+00:00"'),  # noqa: DTZ001 - naive on purpose
        (datetime(2024, 1, 1, tzinfo=UTC), b'"2024-01-01T00:00:00+00:00"'),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))), b'"2024-01-01T00:00:00+02:00"'),
        (datetime(1800, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), b'"1800-01-01T00:00:00+00:53:28"'),
        (datetime(2024, 1, 1, 1, 2, 3, 4, UTC).timetz(), b'"01:02:03.000004+00:00"'),
        (timedelta(days=1, hours=2, seconds=3.5), b'"P1DT2H3.5S"'),
        (timedelta(microseconds=-1), b'"-PT0.000001S"'),
        (timedelta(0), b'"PT0S"'),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (b"\x00\xff", b'"AP8="'),
        (bytearray(b"a"), b'"YQ=="'),
        (Color.RED, b'"red"'),
        (Level.HIGH, b"3"),
        (Point(2**70), b'{"x":%d,"_hidden":7}' % 2**70),
        (Model(x=1.5), b'{"x":1.5}'),
        (Pair(1, 2), b"[1,2]"),
        ({3, 1, 2}, b"[1,2,3]"),
        (frozenset({"b", 1}), b'["b",1]'),
        (deque([1]), b"[1]"),
        (range(2), b"[0,1]"),
        (OrderedDict(a=1), b'{"a":1}'),
        ({7: 1, None: 2, True: 3, 1.5: 4, date(2024, 1, 1): 5}, b'{"7":1,"null":2,"true":3,"1.5":4,"2024-01-01":5}'),
    ],
)  # fmt: skip
def test_every_type_has_one_form(value: object, expected: bytes) -> None:
    assert encode_json({"v": value}) == b'{"v":' + expected + b"}"
    text = expected.decode()
    assert encode_fields({"v": value}) == [b"v", json.loads(text).encode() if text.startswith('"') else expected]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"v": 10**4299}, "the field 'v' is an integer of more than 4,299 digits"),
        ({"v": Decimal("1E+999999999")}, "the field 'v' is an integer of more than 4,299 digits"),
        ({"v": "\ud800"}, "the field 'v' is text with a lone surrogate, which is not Unicode"),
        ({"v": {1: 1, "1": 2}}, "the field 'v' has two keys that are '1' in JSON"),
        ({"v": {(1,): 1}}, "the field 'v' has a key of the type tuple, which has no form in JSON"),
        ({"v": iter([])}, "the field 'v' is of the type list_iterator, which has no form in JSON"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_sentence(record: dict[str, Any], told: str) -> None:
    with pytest.raises(RecordError) as caught:
        encode_json(record)
    assert str(caught.value) == told


def test_a_record_that_contains_itself_is_refused() -> None:
    record: dict[str, Any] = {}
    record["self"] = [record]
    for refuse in (encode_json, refuse_non_finite):
        with pytest.raises(RecordError, match="nested too deeply"):
            refuse(record)


@pytest.mark.parametrize("inside", [1, 2**70, None, math.nan, Decimal(1)])
@pytest.mark.parametrize("kind", ["dict", "list"])
def test_a_record_is_as_deep_as_it_may_be_whatever_is_in_it(inside: object, kind: str) -> None:
    def nested(levels: int) -> dict[str, Any]:
        found: Any = inside
        for _ in range(levels - 1):
            found = {"a": found} if kind == "dict" else [found]
        return {"v": found}

    if inside == inside:  # noqa: PLR0124 - all but NaN
        assert read_json(encode_json(nested(254))) == nested(254)
    with pytest.raises(RecordError):
        encode_json(nested(255))


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York", "UTC"])
def test_a_naive_time_is_utc_whatever_the_machines_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", zone)
    time.tzset()
    try:
        assert json_form(datetime(2024, 7, 1, 12)) == "2024-07-01T12:00:00+00:00"  # noqa: DTZ001
    finally:
        monkeypatch.undo()
        time.tzset()


@settings(deadline=None)
@given(st.timedeltas())
def test_a_duration_reads_back_as_the_same(value: timedelta) -> None:
    class Timed(BaseModel):
        t: timedelta

    assert Timed.model_validate({"t": json_form(value)}).t == value


def test_a_duration_of_months_and_of_different_signs() -> None:
    assert iso_duration(14, -3, 0) == "P1Y2M-3D"
    assert iso_duration(-14, -3, -1_500_000_000) == "-P1Y2M3DT1.5S"
    assert iso_duration(1, 0, -500_000_000) == "P1MT-0.5S"
    assert iso_duration(0, 0, 1) == "PT0.000000001S"


@settings(deadline=None)
@given(st.binary())
def test_bytes_read_back_as_the_same(value: bytes) -> None:
    form = json_form(value)
    assert isinstance(form, str)
    assert base64.b64decode(form, validate=True) == value


def test_numpy_scalars_and_arrays_are_the_values_that_they_hold() -> None:
    np = pytest.importorskip("numpy")
    record = {
        "i": np.int64(2**62), "u": np.uint64(2**64 - 1), "f": np.float64(0.1), "f32": np.float32(0.5),
        "b": np.bool_(True), "s": np.str_("a"), "a": np.array([[1, 2], [3, 4]]), "d": np.datetime64("2024-01-01"),
        "ns": np.datetime64("2024-01-01T00:00:00.123456789"), "td": np.timedelta64(90, "s"),
    }  # fmt: skip
    assert read_json(encode_json(record)) == {
        "i": 2**62, "u": 2**64 - 1, "f": 0.1, "f32": 0.5, "b": True, "s": "a", "a": [[1, 2], [3, 4]], "d": "2024-01-01",
        "ns": "2024-01-01T00:00:00.123456789+00:00", "td": "PT1M30S",
    }  # fmt: skip
    for bad in (np.float64("nan"), np.float32("inf"), np.array([1.0, np.nan]), np.datetime64("NaT"), np.complex128(1)):
        with pytest.raises(RecordError, match="the field 'v"):
            encode_json({"v": bad})
