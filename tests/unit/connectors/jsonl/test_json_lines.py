"""Lines of JSON from files and pipes: the bad ones dead, with their place and bytes, the others as they are."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.base import BadRecord, Portion, SourceItem
from papyra_flow.connectors.files.line_splitter import LineSplitter, LongLine
from papyra_flow.connectors.files.text_form import TextForm
from papyra_flow.connectors.jsonl.source import JsonlSource
from papyra_flow.connectors.stdio import _Stdin
from tests.harness.parsing import dead, every_rest_is_the_same, good, parse

MOST = 1000
BAD = {
    "nope": "not JSON",
    "[1]": "JSON array, not an object; if the file is one JSON array, write one object a line: jq -c '.[]'",
    "1": "JSON int, not an object",
    "null": "JSON NoneType, not an object",
    '{"a": NaN}': "not JSON",
    '{"a": -Infinity}': "not JSON",
    '{"a": "\\ud800"}': "not JSON",
    '{"a": 1},': "if the file is one JSON array",
    "[": "if the file is one JSON array",
    "{": "if the objects are spread over lines, write one a line: jq -c .",
    '{"a":' * 50 + "1" + "}" * 50 + "]": "not JSON",
    '{"a": "' + "x" * MOST + '"}': "more than `max_record` allows (1,000)",
    '{"a": 1} {"b": 2}': "not JSON",
    '{"a": "\0"}': "not JSON",
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252", "gb18030", "cp037"]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes, list[Any], list[tuple[str, str]]]:
    """An encoding, a file, its records, and the place and a word of each of its dead letters."""
    encoding, end = draw(st.sampled_from(ENCODINGS)), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    texts = st.text(st.characters(codec="utf-8" if encoding.startswith("utf") else encoding), max_size=6)
    objects = st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3)
    lines = draw(st.lists(objects | st.sampled_from(sorted(BAD)) | st.just("  "), max_size=12))
    text = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + end for line in lines)
    text = text if draw(st.booleans()) else text.removesuffix(end)
    places = [(str(n), BAD[line]) for n, line in enumerate(lines, start=1) if isinstance(line, str) and line.strip()]
    return encoding, text.encode(encoding), [line for line in lines if isinstance(line, dict)], places


@given(files(), st.sampled_from([None, 1, 7]))
@settings(max_examples=150, deadline=None)
def test_each_line_is_a_record_or_dead_in_any_encoding_and_from_any_checkpoint(
    file: tuple[str, bytes, list[Any], list[tuple[str, str]]], block: int | None
) -> None:
    encoding, data, records, places = file
    config, most = JsonlSource(path="t", encoding=encoding), MOST * (4 if "16" in encoding or "32" in encoding else 1)
    whole = list(parse(config, data, block=block, most=most))
    if most == MOST:
        assert [letter.place for letter in dead(whole)] == [place for place, _ in places]
        assert all(word in letter.error for letter, (_, word) in zip(dead(whole), places, strict=True))
        assert [json.loads(one.item) for one in whole if isinstance(one.item, bytes)] == records
    every_rest_is_the_same(config, data, whole, most)


def test_bytes_that_are_not_text_are_told_with_the_bytes() -> None:
    whole = list(parse(JsonlSource(path="t"), b'{"a":1}\n{"a":"\xff"}\n{"a":3}\n'))
    assert good(whole) == [{"a": 1}, {"a": 3}]
    (letter,) = dead(whole)
    assert (letter.place, letter.raw) == ("2", b'{"a":"\xff"}')
    assert letter.error == "the line is not utf-8: invalid start byte at byte 7: b'\\xff\"}'"


def test_what_is_nested_too_deeply_is_dead_alone() -> None:
    whole = list(parse(JsonlSource(path="t"), b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b'\n{"a":2}\n'))
    assert good(whole) == [{"a": 2}]
    assert [letter.place for letter in dead(whole)] == ["1"]


def test_a_half_character_at_the_end_is_dead_alone() -> None:
    whole = list(parse(JsonlSource(path="t", encoding="utf-16"), '{"a":1}\n{"a":2}'.encode("utf-16") + b"x"))
    assert good(whole) == [{"a": 1}]
    assert [letter.place for letter in dead(whole)] == ["2"]


class Pipe:
    """Standard input: what is written to it, as it comes."""

    def __init__(self, encoding: str = "utf-8", most: int = MOST) -> None:
        self.reads, self.writes = os.pipe()
        self.source = _Stdin(self.reads, encoding, most)

    def read_all(self, pieces: list[bytes]) -> list[SourceItem]:
        def write() -> None:
            for piece in pieces:
                os.write(self.writes, piece)
            os.close(self.writes)

        async def read() -> list[SourceItem]:
            await self.source.start("")
            found, portion = [], Portion([], "")
            while not portion.done:
                portion = await self.source.read(3)
                found += portion.items
            return found

        thread = threading.Thread(target=write)
        thread.start()
        found = asyncio.run(read())
        thread.join()
        os.close(self.reads)
        return found


@given(files(), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_pipe_is_read_as_a_file_is(file: tuple[str, bytes, list[Any], list[tuple[str, str]]], size: int) -> None:
    encoding, data, _, _ = file
    found = Pipe(encoding).read_all([data[at : at + size] for at in range(0, len(data), size)])
    whole = [one.item for one in parse(JsonlSource(path="t", encoding=encoding), data, most=MOST)]
    told = [(item.place, item.raw, item.error) if isinstance(item, BadRecord) else item for item in found]
    assert told == [(item.place, item.raw, item.error) if isinstance(item, BadRecord) else item for item in whole]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_a_pipe_may_begin_with_a_byte_order_mark(mark: bytes) -> None:
    assert Pipe().read_all([mark + b'{"a":1}\n', b'{"a":2}']) == [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize("form", [TextForm(), TextForm(any_end=True), TextForm("utf-16-le")])
def test_of_a_line_that_is_too_long_no_more_is_held_than_a_record_may_have(form: TextForm) -> None:
    splitter, block = LineSplitter(form, 100_000), "x" * 10_000
    for _ in range(100):
        assert splitter.feed(block.encode(form.codec)) == []
        assert sum(map(len, splitter._parts)) <= 140_000
    (line,) = splitter.feed("\n".encode(form.codec))
    assert isinstance(line, LongLine)
    assert len(line) == len((block * 100 + "\n").encode(form.codec))
    assert orjson.loads(b'"%b"' % line.head.replace(b"\0", b"")) in block * 2
