"""Reading files line by line, with a checkpoint that is a byte offset.

One file or a glob of them, plain or `.gz`, read on at the checkpoint. What does not live here: what a line means
(`csv_source`, `jsonl_source`).
"""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Literal

import orjson

from papyra_flow.connectors.base import Portion, SourceItem
from papyra_flow.connectors.lines import Lines, Parser
from papyra_flow.errors import ConnectorError


class FileSource:
    """Files, one after the other in the order of their names."""

    def __init__(self, pattern: str, folder: Path, parser: Parser, head: Callable[[Lines], None] | None = None) -> None:
        self._pattern = pattern
        self._folder = folder
        self._parser = parser
        self._head = head
        self._files: list[Path] = []
        self._file: BufferedReader | gzip.GzipFile | None = None
        self._lines: Lines | None = None
        self._items: Iterator[SourceItem] = iter(())
        self._position: dict[str, str | int] = {}

    async def start(self, checkpoint: str) -> str:
        """Find the files and go to the checkpoint `{"file", "offset", "line"}`."""
        whole = str(self._folder / self._pattern)
        self._files = sorted(Path(name) for name in glob.glob(whole, recursive=True))  # noqa: PTH207 - absolute patterns too
        if not self._files:
            raise ConnectorError(f"there is no file {self._pattern}")
        self._position = orjson.loads(checkpoint) if checkpoint else {}
        if reached := self._position.get("file"):
            self._files = [file for file in self._files if self._name(file) >= str(reached)]
        if self._files and self._name(self._files[0]) == self._position.get("file"):
            offset, line = int(self._position["offset"]), int(self._position["line"])
            with self._readable(self._files[0]):
                self._open(self._files.pop(0), offset, line)
        return checkpoint

    async def read(self, count: int) -> Portion:
        """The next items; a portion never spans two files."""
        while True:
            if self._lines is None:
                if not self._files:
                    return Portion([], orjson.dumps(self._position).decode(), done=True)
                with self._readable(self._files[0]):
                    self._open(self._files.pop(0), 0, 0)
            lines = self._lines
            if lines is None:
                continue
            with self._readable(Path(lines.name)):
                items = list(islice(self._items, count))
            if items:
                self._position = {"file": lines.name, "offset": lines.offset, "line": lines.number}
                return Portion(items, orjson.dumps(self._position).decode())
            await self.close()

    async def close(self) -> None:
        """Close the current file."""
        if self._file is not None:
            self._file.close()
        self._file = self._lines = None

    def _name(self, file: Path) -> str:
        return os.path.relpath(file, self._folder)

    def _open(self, file: Path, offset: int, line: int) -> None:
        opened = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # noqa: SIM115 - closed by `close`
        self._file = opened
        if offset and self._head is not None:
            self._head(Lines(opened, self._name(file)))
        if offset:
            opened.seek(offset)
        self._lines = Lines(opened, self._name(file), line)
        self._items = self._parser(self._lines, bool(offset))

    def _readable(self, file: Path) -> _Readable:
        return _Readable(file.name)


class _Readable:
    """Turns what reading a file may raise into one sentence with the file's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> Literal[False]:
        if isinstance(exc, EOFError | zlib.error):
            raise ConnectorError(f"{self._name} is cut off or damaged: {exc}") from exc
        if isinstance(exc, OSError):
            raise ConnectorError(f"cannot read {self._name}: {exc.strerror or exc}") from exc
        return False
