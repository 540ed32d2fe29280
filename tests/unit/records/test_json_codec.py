"""JSON that is read is what it says, or the reason why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import UndecodableError
from papyra_flow.records.entries import decode_all, decode_json
from papyra_flow.records.json_codec import read_json

digits = st.from_regex(r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?\Z")


@settings(deadline=None)
@given(st.lists(digits, min_size=1))
def test_numbers_are_read_as_python_reads_them(texts: list[str]) -> None:
    text = f'{{"v": [{", ".join(texts)}]}}'
    expected = json.loads(text)
    for found in (read_json(text), decode_json((b"data", text.encode())), *(decode_all([text.encode()]) or ())):
        assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"v":1e400}', "a number is too large for a float"),
        (b'{"v":-1e400}', "a number is too large for a float"),
        (b'{"v":' + b"9" * 4301 + b"}", "an integer has more than 4,299 digits"),
        (b'{"v":NaN}', "line 1 column 6"),
        (b'{"v":-Infinity}', "no digit after sign: line 1 column 7"),
        (b'{"v":"\\ud800"}', "surrogate"),
        (b'{"v":"\xff"}', "UTF-8"),
        (b'{"v":01}', "leading zero"),
        (b'{"v":1}}', "line 1 column 8"),
        (b'{"v":', "unexpected end of data"),
        (b"", "empty"),
        (b"[" * 5000, "depth"),
    ],
)
def test_what_is_not_json_says_why_and_is_no_record(text: bytes, told: str) -> None:
    with pytest.raises(UndecodableError, match=told):
        read_json(text)
    with pytest.raises(UndecodableError, match="`data` is not JSON"):
        decode_json((b"data", text))
    assert decode_all([b"{}", text]) is None


@pytest.mark.parametrize("text", [b"1", b"null", b'"a"', b"[]"])
def test_only_an_object_is_a_record(text: bytes) -> None:
    with pytest.raises(UndecodableError, match="not an object"):
        decode_json((b"data", text))
    assert decode_all([b"{}", text]) is None


@settings(deadline=None)
@given(st.integers(1, 4299), st.sampled_from([1, -1]))
def test_as_many_digits_as_python_reads_are_kept(count: int, sign: int) -> None:
    number: Any = sign * (10**count - 1)
    assert decode_all([b'{"n":%d}' % number]) == [{"n": number}]
