"""Keys as bytes: equal values are equal bytes, others are not, and a partition is what any service would compute."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import RecordError
from papyra_flow.state.fields import canonical, field_of, key_text, partition_of, parts_of, with_part, without_last

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("c1", b'"c1"'),
        ('say "é"\n', '"say \\"é\\"\\n"'.encode()),
        (None, b"null"),
        (True, b"true"),
        (1, b"1"),
        (1.0, b"1"),
        (-0.0, b"0"),
        (2.5, b"2.5"),
        (10**30, b"1000000000000000000000000000000"),
        (1e20, b"100000000000000000000"),
        ([1, "a", [None]], b'[1,"a",[null]]'),
        ({"b": 1, "a": {"d": 2.0, "c": 3}}, b'{"a":{"c":3,"d":2},"b":1}'),
        (date(2024, 1, 31), b'"2024-01-31"'),
        (datetime(2024, 1, 31, tzinfo=UTC), b'"2024-01-31T00:00:00+00:00"'),
    ],
)
def test_a_value_has_one_text(value: object, text: bytes) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), ["\ud800"], [float("nan")]])
def test_what_json_does_not_have_is_the_record_s_failure(value: object) -> None:
    with pytest.raises(RecordError):
        canonical(value)
    with pytest.raises(RecordError):
        key_text(value)


@given(st.lists(values, max_size=4))
@settings(deadline=None)
def test_parts_come_back(parts: list[object]) -> None:
    assert parts_of(field_of(parts)) == parts


@given(values, values)
@settings(deadline=None)
def test_texts_are_equal_exactly_where_values_are(one: object, other: object) -> None:
    def plain(value: object) -> str:
        """Written by other means: True is not 1, 1.0 is."""
        whole = json.JSONDecoder(parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text))
        return json.dumps(whole.decode(json.dumps(value)), sort_keys=True)

    assert (canonical(one) == canonical(other)) == (plain(one) == plain(other))


def test_a_part_is_put_behind_the_others() -> None:
    assert with_part(field_of(["c1"]), 1_700_000_000_000) == b'["c1",1700000000000]'
    assert with_part(field_of([]), 5) == b"[5]"
    assert with_part(field_of(["a", 1]), "x") == field_of(["a", 1, "x"])


@pytest.mark.parametrize(
    ("value", "text"),
    [("c1", b"c1"), ("é", "é".encode()), (7, b"7"), (7.0, b"7"), (None, b"null"), (["a", 1], b'["a",1]'), ("7", b"7"),
     (date(2024, 1, 31), b"2024-01-31")],
)  # fmt: skip
def test_a_key_s_text_is_what_a_service_would_hash(value: object, text: bytes) -> None:
    assert key_text(value) == text
    assert partition_of(key_text(value), 8) == zlib.crc32(text) % 8


@given(st.lists(values, max_size=3), values)
@settings(deadline=None)
def test_a_part_put_behind_a_field_comes_off_again(parts: list[object], last: object) -> None:
    field = field_of(parts)
    found, part = without_last(with_part(field, last))
    assert found == field
    assert canonical(part) == canonical(last)
