"""Rows of CSV: the good ones as they were written, the bad ones alone, whatever stands around them."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.csv.quotes import RowScan
from papyra_flow.connectors.csv.source import CsvSource
from papyra_flow.errors import ConnectorError
from tests.harness.parsing import dead, every_rest_is_the_same, good, parse

MOST = 4096
ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "latin-1",
    "cp1252",
    "gb18030",
    "cp037",
]
MARKED = {"utf-16-le", "utf-16-be", "utf-8"}


@dataclass(frozen=True)
class Dialect:
    """How a file is written."""

    delimiter: str
    quote: str
    end: str
    encoding: str
    marked: bool

    def field(self, text: str, *, quoted: bool) -> str:
        needs = not text or any(c in text for c in (self.delimiter, self.quote, "\r", "\n"))
        return self.quote + text.replace(self.quote, self.quote * 2) + self.quote if quoted or needs else text

    def row(self, values: list[str], quoted: bool = False) -> str:
        return self.delimiter.join(self.field(value, quoted=quoted) for value in values) + self.end

    def encode(self, text: str) -> bytes:
        mark = "\ufeff" if self.marked and self.encoding in MARKED else ""
        return (mark + text).encode(self.encoding)

    def source(self, **more: Any) -> CsvSource:
        options = {"delimiter": self.delimiter, "quote": self.quote, "encoding": self.encoding, **more}
        return CsvSource.model_validate({"path": "t", **options})


@st.composite
def dialects(draw: st.DrawFn, encodings: list[str] = ENCODINGS) -> Dialect:
    delimiter, quote = draw(st.sampled_from([(",", '"'), (";", '"'), ("\t", "'"), ("|", '"'), (",", "'")]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return Dialect(delimiter, quote, end, draw(st.sampled_from(encodings)), draw(st.booleans()))


def texts(encoding: str) -> st.SearchStrategy[str]:
    codec = "utf-8" if encoding.startswith("utf") else encoding
    return st.text(st.sampled_from(",;|\t\"'\r\n x") | st.characters(codec=codec), max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Dialect, list[str], list[tuple[list[str], bool, int]]]:
    dialect = draw(dialects())
    values = texts(dialect.encoding)
    names = values.filter(lambda name: bool(name.strip()) and "\0" not in name and not name.startswith("\ufeff"))
    header = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    row = st.lists(values, min_size=len(header), max_size=len(header))
    return dialect, header, draw(st.lists(st.tuples(row, st.booleans(), st.integers(0, 2)), max_size=8))


@given(tables(), st.integers(0, 2), st.booleans(), st.sampled_from([None, 1, 7]))
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_read_in_any_dialect_and_encoding_and_from_any_checkpoint(
    table: tuple[Dialect, list[str], list[tuple[list[str], bool, int]]], blank: int, ended: bool, block: int | None
) -> None:
    dialect, header, rows = table
    text = dialect.end * blank + dialect.row(header)
    text += "".join(dialect.row(row, quoted) + dialect.end * blanks for row, quoted, blanks in rows)
    data = dialect.encode(text if ended else text.removesuffix(dialect.end))
    whole = list(parse(dialect.source(), data, block=block, most=MOST))
    assert good(whole) == [dict(zip(header, row, strict=True)) for row, _, _ in rows]
    assert dead(whole) == []
    every_rest_is_the_same(dialect.source(), data, whole, MOST)


@st.composite
def pieces(draw: st.DrawFn, width: int) -> tuple[str, list[str] | None]:
    """A piece of a file, and the record that is in it, if it is a good row; `<n>` stands for a line end."""
    inner = st.text(st.sampled_from("ab,\n"), max_size=6).map(lambda text: f"q{text}q")
    plain = st.text(st.sampled_from("abü"), min_size=1, max_size=4)
    values = draw(st.lists(inner | plain, min_size=width, max_size=width))
    shown = [f'"{value}"' if value.startswith("q") else value for value in values]
    kind = draw(st.sampled_from(["good", "good", "good", "open", "behind", "few", "many", "undecodable", "long"]))
    column = 0 if kind == "long" else draw(st.integers(0, width - 1))
    if kind == "good":
        return ",".join(shown), values
    if kind in {"few", "many"}:
        return ",".join(shown[:-1] if kind == "few" and width > 2 else [*shown, '"q\na,b\nc"']), None
    shown[column] = {
        "open": '"open', "behind": '"closed"x', "undecodable": '"q\udcff\na,b\nq"', "long": "a" * MOST,
    }[kind]  # fmt: skip
    shown[column + 1 :] = ["a"] * (width - column - 1)
    return ",".join(shown), None


@given(st.data(), st.integers(2, 4), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from([None, 5]))
@settings(max_examples=150, deadline=None)
def test_a_damaged_row_is_one_dead_letter_with_its_line_and_the_rows_around_it_are_right(
    data: st.DataObject, width: int, end: str, block: int | None
) -> None:
    written = data.draw(st.lists(pieces(width), max_size=10))
    header = [f"c{n}" for n in range(width)]
    text = ",".join(header) + "\n" + "".join(piece + "\n" for piece, _ in written)
    raw = text.replace("\n", end).encode("utf-8", "surrogateescape")
    config = CsvSource(path="t")
    whole = list(parse(config, raw, block=block, most=MOST))
    expected = [[value.replace("\n", end) for value in values] for _, values in written if values is not None]
    assert good(whole) == [dict(zip(header, values, strict=True)) for values in expected]
    places, line = [], 2
    for piece, values in written:
        places += [str(line)] if values is None else []
        line += piece.count("\n") + 1
    assert [letter.place for letter in dead(whole)] == places
    every_rest_is_the_same(config, raw, whole, MOST)


@given(st.text(st.sampled_from('aa,,""\n\n\r\0'), max_size=60), st.booleans(), st.sampled_from([12, MOST]))
@settings(max_examples=250, deadline=None)
def test_whatever_a_file_holds_each_record_is_a_row_of_it_and_each_checkpoint_holds(
    text: str, marked: bool, most: int
) -> None:
    raw = ("\ufeff" if marked else "").encode() + text.encode()
    config = CsvSource(path="t", header=["x", "y"])
    whole = list(parse(config, raw, most=most))
    before = 0
    for one in whole:
        if isinstance(one.item, bytes):
            row = raw[before : one.offset].decode("utf-8-sig")
            read = [row for row in csv.reader(io.StringIO(row, newline=""), strict=True) if row]
            assert [dict(zip("xy", row, strict=True)) for row in read] == good([one])
        before = one.offset
    every_rest_is_the_same(config, raw, whole, most)


@given(st.text(st.sampled_from('aa,,""\n\n\r'), max_size=40), st.data(), st.sampled_from(["x,y\n", "x,y\r"]))
@settings(max_examples=150, deadline=None)
def test_a_file_read_while_it_grows_gives_what_it_gives_when_it_is_whole(
    text: str, data: st.DataObject, head: str
) -> None:
    raw = (head + text).encode()
    config = CsvSource(path="t")
    so_far = raw[: data.draw(st.integers(len(head), len(raw)))]
    first = list(parse(config, so_far, growing=True))
    position = (first[-1].offset, first[-1].number) if first else (0, 0)
    found = [one for one in first if one.item != b"unfinished"]
    found += parse(config, raw, position)
    assert found == list(parse(config, raw))


def test_an_open_quote_does_not_take_the_rest_of_the_file(tmp_path: Path) -> None:
    whole = list(parse(CsvSource(path="t"), b'id,name\n1,a\n2,"open\n3,c\n4,d\n'))
    assert good(whole) == [{"id": "1", "name": "a"}, {"id": "3", "name": "c"}, {"id": "4", "name": "d"}]
    assert [(one.place, one.raw, one.error) for one in dead(whole)] == [
        ("3", b'2,"open', "the quote opened in column 2 is never closed")
    ]


def test_a_field_may_be_as_long_as_a_record_and_the_csv_modules_limit_stays_as_it_is() -> None:
    limit = csv.field_size_limit()
    note = "\n".join(f"{n},a line of a long note" for n in range(7000))
    whole = list(parse(CsvSource(path="t"), f'id,note\n1,"{note}"\n9999,ok\n'.encode()))
    assert good(whole) == [{"id": "1", "note": note}, {"id": "9999", "note": "ok"}]
    assert csv.field_size_limit() == limit


LINES = st.text(st.sampled_from('aa,,""'), max_size=8)


@given(LINES, st.lists(LINES, min_size=1, max_size=3), LINES)
@settings(max_examples=250, deadline=None)
@example("", ['",a","'], "")
@example('"x', ['",",","'], "")
@example('"x', ["a,b"], "")
@example('"x', ['a,"b'], "")
def test_the_work_grows_with_the_file_and_not_with_its_square(first: str, lines: list[str], last: str) -> None:
    scanned = 0

    class Counted(RowScan):
        def add(self, line: str) -> None:
            nonlocal scanned
            scanned += 1
            super().add(line)

    written = [first, *lines * 100, last]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("papyra_flow.connectors.csv.rows.RowScan", Counted)
        for _ in parse(CsvSource(path="t", header=["a", "b"]), "".join(f"{line}\n" for line in written).encode()):
            pass
    assert scanned <= 6 * len(written)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_halves_of_two_characters_are_not_a_line_end(encoding: str, end: str) -> None:
    text = "\u0a00\u0100\u0a01\u0d00\u0100\u0d01"
    whole = list(parse(CsvSource(path="t", encoding=encoding), f"{text},b{end}1,{text}{end}".encode(encoding)))
    assert good(whole) == [{text: "1", "b": text}]


def test_without_a_quote_quotes_are_characters() -> None:
    whole = list(parse(CsvSource.model_validate({"path": "t", "quote": None, "delimiter": "\\t"}), b'a\tb\n"x\ty"\n'))
    assert good(whole) == [{"a": '"x', "b": 'y"'}]


@pytest.mark.parametrize(
    ("data", "records", "unfinished"),
    [
        (b"id,n\n1,a\n2,b", 1, (9, 2)),
        (b'id,n\n1,a\n2,"b\n', 1, (9, 2)),
        (b'id,n\n1,"a\n2,b\n', 0, (5, 1)),
        (b'id,n\n1,"a\n2,b"', 0, (5, 1)),
        (b"id,n", 0, (0, 0)),
        (b'id,"n\n1,2\n', 0, (0, 0)),
        (b"", 0, None),
    ],
)
def test_what_has_no_end_yet_is_not_given_out_while_the_file_grows(
    data: bytes, records: int, unfinished: tuple[int, int] | None
) -> None:
    whole = list(parse(CsvSource(path="t"), data, growing=True))
    assert len(good(whole)) == records
    assert dead(whole) == []
    assert [(one.offset, one.number) for one in whole[records:]] == ([] if unfinished is None else [unfinished])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"id,id\n", "line 1: the header has the name 'id' twice, in columns 1 and 2"),
        (b"\n\n,,\nid,a,x\n", "line 3: the header has no name for any column"),
        (b"column_2,,x\n", "line 1: the header has the name 'column_2' twice, in columns 1 and 2"),
        (b'id,"x\n1,2\n', "line 1: the header cannot be read: the quote opened in column 2 is never closed"),
        (b"id,pr\xe9nom\n", "line 1: the header cannot be read: line 1 is not utf-8: .* at byte 6"),
        ("id,x\n".encode("utf-16-le"), "line 1: the header contains NUL bytes; if the file is UTF-16, set `encoding"),
        (b"a" * 5000, "line 1: the header cannot be read: the line has 5,000 bytes, more than `max_record` allows"),
    ],
)
def test_a_header_that_cannot_be_used_is_one_sentence(data: bytes, error: str) -> None:
    with pytest.raises(ConnectorError, match=error):
        list(parse(CsvSource(path="t"), data, most=MOST))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \n"])
def test_a_file_without_a_header_has_no_records(data: bytes) -> None:
    assert list(parse(CsvSource(path="t", types={"n": "int"}), data)) == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"header": ["a", "a"]}, "has the name 'a' twice"),
        ({"header": ["a", ""]}, "has no name for column 2"),
        ({"header": ["a"], "types": {"b": "int"}}, "has no column 'b', which `types` names"),
        ({"encoding": "utf9"}, "unknown text encoding 'utf9'"),
        ({"encoding": "rot13"}, "unknown text encoding 'rot13'"),
        ({"encoding": "base64"}, "unknown text encoding 'base64'"),
        ({"encoding": "idna"}, "cannot be read line by line"),
        ({"encoding": "punycode"}, "cannot be read line by line"),
        ({"encoding": "unicode_escape"}, "cannot be read line by line"),
        ({"encoding": "undefined"}, "cannot be read line by line"),
        ({"delimiter": '"'}, "must differ"),
        ({"delimiter": "\n"}, "cannot be line ends"),
    ],
)
def test_what_can_be_known_is_refused_before_anything_is_read(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        CsvSource.model_validate({"path": "t", **fields})


def test_the_bytes_of_a_line_that_is_too_long_are_not_kept() -> None:
    whole = list(parse(CsvSource(path="t"), b"a,b\n1,2\n" + b"x" * 10**6 + b"\n3,4\n", most=100, block=1000))
    assert good(whole) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    (letter,) = dead(whole)
    assert letter.place == "3"
    assert letter.error == "the line has 1,000,001 bytes, more than `max_record` allows (100)"
    assert sys.getsizeof(letter.raw) < 20_000
