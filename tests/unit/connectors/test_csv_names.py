"""Columns of CSV without a name: their values arrive, under a name that is said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.csv.source import CsvSource
from tests.harness.parsing import good, parse


def test_pandas_index_has_a_name(caplog: pytest.LogCaptureFixture) -> None:
    assert good(list(parse(CsvSource(path="t"), b",a\n0,x\n1,y\n"))) == [
        {"column_1": "0", "a": "x"}, {"column_1": "1", "a": "y"}
    ]  # fmt: skip
    assert "line 1: the header has no name for 1 of its columns: called column_1" in caplog.text


@given(st.lists(st.sampled_from(["", " ", '""', "a"]), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_value_is_left_out_for_want_of_a_name(names: list[str]) -> None:
    header = ",".join(f"{name}{number}" if name == "a" else name for number, name in enumerate([*names, "a"]))
    row = [str(number) for number in range(len(names) + 1)]
    (record,) = good(list(parse(CsvSource(path="t"), f"{header}\n{','.join(row)}\n".encode())))
    assert list(record.values()) == row
