"""A source and a stage agree on what is JSON: what one reads the other does not refuse, or take for another value."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.files.text_form import TextForm
from papyra_flow.connectors.jsonl.source import BadLineError, json_text
from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record, decode_json

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
ODD = st.sampled_from(
    ["NaN", "Infinity", "-", "01", "+1", ".5", "5.", "True", '"\\ud800"', '"\\udc00"', '"\\u0000"', '"\x01"', "9" * 400,
     "9" * 4299, "-" + "9" * 4299, "9" * 4300, "[" * 300 + "]" * 300, "[" * 2000 + "]" * 2000, "", " ", "'a'"]
)  # fmt: skip


def read(line: bytes) -> bytes | None:
    with suppress(BadLineError):
        return json_text(line, TextForm()) or None
    return None


def decoded(line: bytes) -> Record | None:
    with suppress(RecordError):
        return decode_json((b"data", line))
    return None


@given(NUMBERS | ODD, st.sampled_from(['{"a": %s}', '{"a": [1, %s]}', '{"a": %s, "a": 1}', '{"a": {"b": %s}} ', "%s"]))
@settings(max_examples=300, deadline=None)
def test_what_a_source_reads_is_what_a_stage_reads(value: str, form: str) -> None:
    line = (form % value).encode("utf-8", "surrogatepass").strip()
    found = read(line)
    assert (None if found is None else decoded(found)) == decoded(line)
    assert (found is None) == (decoded(line) is None)


@pytest.mark.parametrize("digits", [19, 20, 308, 309, 4299])
def test_an_integer_of_any_size_is_read(digits: int) -> None:
    assert read(b'{"n": ' + b"9" * digits + b"}") is not None
