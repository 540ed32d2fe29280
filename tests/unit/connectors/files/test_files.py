"""File sources and sinks: every line once, from any checkpoint; bad lines with their place."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.base import BadRecord, ConnectorContext, OpenSink, OpenSource, SourceItem
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.spec.components import SINKS, SOURCES, components


def source(folder: Path, kind: str, **fields: Any) -> OpenSource:
    config = components(SOURCES)[kind].model_validate(fields)
    return config.open(ConnectorContext(folder, "p", "s", "embedded"))  # type: ignore[attr-defined, no-any-return]


def sink(folder: Path, kind: str, **fields: Any) -> OpenSink:
    config = components(SINKS)[kind].model_validate(fields)
    return config.open(ConnectorContext(folder, "p", "s", "embedded"))  # type: ignore[attr-defined, no-any-return]


async def begun(opened: OpenSink, checkpoint: str) -> None:
    """Lock and start a sink."""
    await opened.lock()
    await opened.start(checkpoint)


async def read_all(opened: OpenSource, checkpoint: str = "", count: int = 3) -> list[tuple[SourceItem, str]]:
    """Items, each with the checkpoint of its portion."""
    await opened.start(checkpoint)
    found: list[tuple[SourceItem, str]] = []
    while True:
        portion = await opened.read(count)
        found += [(item, portion.checkpoint) for item in portion.items]
        if portion.done:
            await opened.close()
            return found


def records(found: list[tuple[SourceItem, str]]) -> list[Any]:
    return [orjson.loads(item) for item, _ in found if isinstance(item, bytes)]


def bad(found: list[tuple[SourceItem, str]]) -> list[tuple[str, str, str]]:
    return [(item.origin, item.place, item.error) for item, _ in found if isinstance(item, BadRecord)]


CSV = 'a,b\n1,x\n2,"two\nlines"\n3,"say ""hi"""\n4,ü\n5,\n'
ROWS = [
    {"a": "1", "b": "x"}, {"a": "2", "b": "two\nlines"}, {"a": "3", "b": 'say "hi"'}, {"a": "4", "b": "ü"},
    {"a": "5", "b": ""},
]  # fmt: skip


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
async def test_csv_is_continued_at_any_checkpoint(tmp_path: Path, name: str) -> None:
    data = CSV.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    whole = await read_all(source(tmp_path, "csv", path=name), count=1)
    assert records(whole) == ROWS
    for number, (_, checkpoint) in enumerate(whole, start=1):
        rest = await read_all(source(tmp_path, "csv", path=name), checkpoint, count=2)
        assert records(rest) == ROWS[number:]


async def test_csv_types_nulls_and_bom(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfn,f,b,s\r\n1,2.5,yes,NA\r\nNA,NA,,x\r\n")
    found = await read_all(
        source(tmp_path, "csv", path="t.csv", types={"n": "int", "f": "float", "b": "bool"}, null_values=["NA", ""])
    )
    assert records(found) == [{"n": 1, "f": 2.5, "b": True, "s": None}, {"n": None, "f": None, "b": None, "s": "x"}]


async def test_csv_rows_that_do_not_fit_are_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n,s\n1,a\nx,b\n3\n\n4,c,d\nnan,e\n6,f\n")
    found = await read_all(source(tmp_path, "csv", path="t.csv", types={"n": "float"}))
    assert records(found) == [{"n": 1.0, "s": "a"}, {"n": 6.0, "s": "f"}]
    assert bad(found) == [
        ("t.csv", "3", "'x' in column 'n' is not a float"),
        ("t.csv", "4", "the row has 1 columns, the header 2"),
        ("t.csv", "6", "the row has 3 columns, the header 2"),
        ("t.csv", "7", "'nan' in column 'n' is not a float"),
    ]


async def test_csv_in_an_encoding_that_it_does_not_have_is_dead_not_the_end(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"n,s\n1,\xff\n2,ok\n")
    found = await read_all(source(tmp_path, "csv", path="t.csv"))
    assert records(found) == [{"n": "2", "s": "ok"}]
    assert [place for _, place, _ in bad(found)] == ["2"]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("a,a\n1,2\n", {}, "the header has the name 'a' twice, in columns 1 and 2"),
        ("a,b\n1,2\n", {"types": {"c": "int"}}, "no column 'c', which `types` names; it has a, b"),
    ],
)
async def test_a_csv_header_that_cannot_be_used_is_told(
    tmp_path: Path, text: str, fields: dict[str, Any], message: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConnectorError, match=message):
        await read_all(source(tmp_path, "csv", path="t.csv", **fields))


async def test_a_glob_is_read_in_the_order_of_names_and_continued_in_the_middle(tmp_path: Path) -> None:
    for name, numbers in {"b.jsonl": (3, 4), "a.jsonl": (1, 2), "c.jsonl.gz": (5, 6)}.items():
        data = "".join(f'{{"n": {n}}}\n' for n in numbers).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    whole = await read_all(source(tmp_path, "jsonl", path="*.jsonl*"), count=1)
    assert [record["n"] for record in records(whole)] == [1, 2, 3, 4, 5, 6]
    for number, (_, checkpoint) in enumerate(whole, start=1):
        rest = await read_all(source(tmp_path, "jsonl", path="*.jsonl*"), checkpoint)
        assert [record["n"] for record in records(rest)] == [1, 2, 3, 4, 5, 6][number:]


async def test_jsonl_lines_that_are_no_objects_are_told_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'\xef\xbb\xbf{"n": 1}\n\n[1]\nnope\n{"n": 2}')
    found = await read_all(source(tmp_path, "jsonl", path="t.jsonl"))
    assert records(found) == [{"n": 1}, {"n": 2}]
    assert [place for _, place, _ in bad(found)] == ["3", "4"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (None, "file not found: t.jsonl.gz"),
        (b"this is no gzip", r"t\.jsonl\.gz is cut off or damaged|cannot read"),
        (gzip.compress(b'{"n": 1}\n' * 10_000)[:-20], r"t\.jsonl\.gz is cut off or damaged"),
    ],
)
async def test_a_file_that_cannot_be_read_is_told_in_one_sentence(
    tmp_path: Path, write: bytes | None, message: str
) -> None:
    if write is not None:
        (tmp_path / "t.jsonl.gz").write_bytes(write)
    with pytest.raises(ConnectorError, match=message):
        await read_all(source(tmp_path, "jsonl", path="t.jsonl.gz"), count=500)


def lines(path: Path) -> list[Any]:
    data = path.read_bytes()
    return [orjson.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


async def wrote(opened: OpenSink, numbers: list[int], *, commit: bool = True) -> str:
    chunks = [(str(n).encode(), opened.encode({"n": n}, None)) for n in numbers]
    checkpoint = await opened.write(chunks)
    if commit:
        opened.committed()
    return checkpoint


@pytest.mark.parametrize("name", ["out.jsonl", "deep/er/out.jsonl", "out.jsonl.gz"])
async def test_a_sink_takes_back_what_was_not_committed(tmp_path: Path, name: str) -> None:
    first = sink(tmp_path, "jsonl", path=name)
    await begun(first, "")
    checkpoint = await wrote(first, [1, 2])
    await wrote(first, [3, 4], commit=False)  # and here its process is killed
    await first.close()
    second = sink(tmp_path, "jsonl", path=name)
    await begun(second, checkpoint)
    await wrote(second, [3], commit=False)  # the commit was refused: an entry was not ours any more
    await wrote(second, [4])
    await second.close()
    assert [record["n"] for record in lines(tmp_path / name)] == [1, 2, 4]


async def test_a_sink_without_a_checkpoint_appends_unless_told_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text('{"n": 0}\n')
    for overwrite, expected in ((False, [0, 1]), (True, [1])):
        opened = sink(tmp_path, "jsonl", path="out.jsonl", overwrite=overwrite)
        await begun(opened, "")
        await wrote(opened, [1])
        await opened.close()
        assert [record["n"] for record in lines(tmp_path / "out.jsonl")] == expected


async def test_csv_sink_writes_a_header_once_and_refuses_fields_without_a_column(tmp_path: Path) -> None:
    opened = sink(tmp_path, "csv", path="out.csv")
    await begun(opened, "")
    await opened.write([(b"1", opened.encode({"a": 1, "b": [1, "x"], "c": None}, None))])
    opened.committed()
    with pytest.raises(RecordError, match="has no column 'z'"):
        opened.encode({"z": 1}, None)
    await opened.write([(b"2", opened.encode({"b": 'q"', "a": True}, None))])
    opened.committed()
    await opened.close()
    assert (tmp_path / "out.csv").read_text() == 'a,b,c\n1,"[1,""x""]",\ntrue,"q""",\n'


async def test_a_csv_sink_goes_on_with_the_columns_of_its_file(tmp_path: Path) -> None:
    first = sink(tmp_path, "csv", path="out.csv")
    await begun(first, "")
    checkpoint = await first.write([(b"1", first.encode({"a": 1, "b": 2}, None))])
    await first.close()
    second = sink(tmp_path, "csv", path="out.csv")
    await begun(second, checkpoint)
    await second.write([(b"2", second.encode({"b": 4, "a": 3}, None))])
    await second.close()
    assert (tmp_path / "out.csv").read_text() == "a,b\n1,2\n3,4\n"
    with pytest.raises(ConnectorError, match="has the columns a, b, not b, c"):
        await begun(sink(tmp_path, "csv", path="out.csv", columns=["b", "c"]), checkpoint)


async def test_a_sink_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectorError, match=r"cannot write .*: Not a directory|File exists"):
        await begun(sink(tmp_path, "jsonl", path="file/out.jsonl"), "")


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text()}), max_size=20))
@settings(max_examples=50)
async def test_what_a_csv_sink_writes_a_csv_source_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    rows = [row for row in rows if not any("\0" in text or "\r" in text for text in row.values())]
    folder = tmp_path_factory.mktemp("csv")
    opened = sink(folder, "csv", path="t.csv", columns=["a", "b"], fsync=False)
    await begun(opened, "")
    await opened.write([(b"%d" % i, opened.encode(row, None)) for i, row in enumerate(rows)])  # type: ignore[arg-type]
    await opened.close()
    assert records(await read_all(source(folder, "csv", path="t.csv"))) == rows
