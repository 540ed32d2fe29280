"""Tables of a lookup: what is wrong with one is told with its file and line, and nothing of it is guessed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from papyra_flow.errors import ConnectorError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each
from papyra_flow.steps.lookup import Lookup


def table(folder: Path, data: bytes, **fields: Any) -> Any:
    """What the step answers for a key."""
    name = fields.pop("name", "t.csv")
    kind = "jsonl" if "jsonl" in name else "csv"
    (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    lookup = Lookup.model_validate({kind: name, "on": "id", "as": "t", "missing": "null", **fields})
    step = lookup.build(SetupContext(folder, redis="redis://nowhere.invalid"))
    assert isinstance(step, Each)
    return lambda key: step.apply({"id": key})["t"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("data", "fields", "error"),
    [
        (b"id,n\n1\n", {}, "t.csv, line 2: the row has 1 columns, the header 2"),
        (b"id,n\n1,a\n2,b,c\n", {}, "t.csv, line 3: the row has 3 columns, the header 2"),
        (b'id,n\n1,"a\n2,b\n', {}, "t.csv, line 2: the quote opened in column 2 is never closed"),
        (b"id,n\n1,a\n1,b\n", {}, "t.csv, line 3: the key '1' is also in line 2; choose a row with `dup"),
        (b"id,n\n1,\xff\n", {}, "t.csv, line 2: line 2 is not utf-8"),
        (b"id,id\n", {}, "t.csv, line 1: the header has the name 'id' twice"),
        (b"", {}, "t.csv has no column 'id', which `key` names; it is empty"),
        (b"a,b\n", {}, "t.csv has no column 'id', which `key` names; it has a, b"),
        (b"id,b\n", {"fields": ["c"]}, "t.csv has no column 'c', which `fields` names"),
        (b"id,b\n", {"types": {"c": "int"}}, "t.csv has no column 'c', which `types` names"),
        (b"id,b\n1,x\n", {"types": {"b": "int"}}, "t.csv, line 2: 'x' in column 'b' is not an int"),
        (b'{"id":1}\n\nnope\n', {"name": "t.jsonl"}, "t.jsonl, line 3: the line is not JSON"),
        (b'{"id":1}\n[1]\n', {"name": "t.jsonl"}, "t.jsonl, line 2: the line is a JSON array, not an object"),
        (b'{"a":1}\n', {"name": "t.jsonl"}, "t.jsonl, line 1: the row has no field 'id', the key"),
        (b'{"id":[1]}\n', {"name": "t.jsonl"}, "t.jsonl, line 1: the key is a list"),
        (b'{"id":1}\n', {"name": "t.jsonl", "fields": ["c"]}, "no row of t.jsonl has the field 'c', which `fields`"),
        (b"x" * (9 * 1024**2), {"name": "t.jsonl"}, "t.jsonl, line 1: the line has 9,437,184 bytes, more than"),
    ],
)
def test_a_table_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, data: bytes, fields: dict[str, Any], error: str
) -> None:
    with pytest.raises(ConnectorError) as raised:
        table(tmp_path, data, **fields)
    assert error in str(raised.value)


def test_which_row_counts_can_be_said_if_a_key_is_there_twice(tmp_path: Path) -> None:
    data = b"id,n\n1,a\n2,b\n1,c\n"
    assert table(tmp_path, data, duplicates="first")("1") == {"id": "1", "n": "a"}
    assert table(tmp_path, data, duplicates="last")("1") == {"id": "1", "n": "c"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_is_read_as_a_source_is(tmp_path: Path, encoding: str, name: str, end: str) -> None:
    data = f'{end}"id"\tn{end}1\t"é{end}"{end}{end}2\t{end}'.encode(encoding)
    found = table(tmp_path, data, name=name, encoding=encoding, delimiter="\\t")
    assert [found("1"), found("2"), found("3")] == [{"id": "1", "n": f"é{end}"}, {"id": "2", "n": ""}, None]


@pytest.mark.parametrize("fields", [{"jsonl": "t", "types": {"a": "int"}}, {"csv": "t", "encoding": "utf9"}])
def test_what_can_be_known_is_refused_before_the_table_is_read(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`types` are for the columns|unknown text encoding 'utf9'"):
        Lookup.model_validate({"on": "id", **fields})
