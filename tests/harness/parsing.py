"""A source's parser without its file: the items of bytes, each with where reading goes on after it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from papyra_flow.connectors.base import BadRecord, SourceItem
from papyra_flow.connectors.csv.source import CsvParser, CsvSource
from papyra_flow.connectors.files.lines import Lines
from papyra_flow.connectors.jsonl.source import JsonlParser, JsonlSource
from papyra_flow.errors import ConnectorError


@dataclass(frozen=True)
class Parsed:
    """An item, and the position behind it."""

    item: SourceItem
    offset: int
    number: int


def parse(
    config: CsvSource | JsonlSource,
    data: bytes,
    position: tuple[int, int] = (0, 0),
    *,
    most: int = 8 * 1024**2,
    growing: bool = False,
    block: int | None = None,
) -> Iterator[Parsed]:
    """The items from a position on, as a file's source has them read."""
    parser = CsvParser(config, most) if isinstance(config, CsvSource) else JsonlParser(config.encoding, most)
    file: Any = io.BufferedReader(_Slow(data, block) if block else io.BytesIO(data))
    if position[0]:
        parser.read_head(Lines(file, "t"))
        file.seek(position[0])
    lines = Lines(file, "t", position[1])
    try:
        for item in parser.items(lines, bool(position[0])):
            if growing and lines.unfinished is not None:
                break
            yield Parsed(item, lines.offset, lines.number)
    except ConnectorError:
        if not growing or lines.unfinished is None:
            raise
    if growing and lines.unfinished is not None:
        yield Parsed(b"unfinished", *lines.unfinished)


class _Slow(io.BytesIO):
    """Bytes that come in small pieces, as from a pipe."""

    def __init__(self, data: bytes, block: int) -> None:
        super().__init__(data)
        self._block = block

    def readinto(self, buffer: Any) -> int:
        piece = super().read(min(len(buffer), self._block))
        buffer[: len(piece)] = piece
        return len(piece)


def good(parsed: list[Parsed]) -> list[Any]:
    """The records."""
    return [orjson.loads(one.item) for one in parsed if isinstance(one.item, bytes) and one.item != b"unfinished"]


def dead(parsed: list[Parsed]) -> list[BadRecord]:
    """The dead letters."""
    return [one.item for one in parsed if isinstance(one.item, BadRecord)]


def every_rest_is_the_same(config: CsvSource | JsonlSource, data: bytes, whole: list[Parsed], most: int) -> None:
    """Reading on behind any item gives exactly the items after it."""
    for number, one in enumerate(whole, start=1):
        rest = list(parse(config, data, (one.offset, one.number), most=most))
        assert rest == whole[number:], one
