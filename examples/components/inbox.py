"""A source: the JSON files of a folder, in the order of their names."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from papyra_flow import BadRecord, ConfigurationError, Portion, Record, SetupContext, Source


class Inbox(Source):
    """Read the JSON files of a folder, one record a file, in the order of their names."""

    main = "folder"
    because = "the name of the last file moves in the same script as its record"

    folder: str = Field(description="The folder.")
    remove: bool = Field(False, description="Delete a file once its record is in the pipeline.")

    _folder: Path
    _after: str = ""

    def setup(self, context: SetupContext) -> None:
        self._folder = context.folder / self.folder
        if not self._folder.is_dir():
            raise ConfigurationError(f"folder not found: {self.folder}")

    def resume(self, checkpoint: str) -> None:
        self._after = checkpoint

    def read(self, count: int) -> Portion:
        files = list(self._files(self._after))
        taken = files[:count]
        if taken:
            self._after = taken[-1].name
        return Portion([self._record(file) for file in taken], self._after, done=len(files) <= count)

    def committed(self, checkpoint: str) -> None:
        if self.remove:
            for file in self._files():
                if file.name <= checkpoint:
                    file.unlink()

    def _files(self, after: str = "") -> Iterator[Path]:
        return (file for file in sorted(self._folder.glob("*.json")) if file.name > after)

    def _record(self, file: Path) -> Record | BadRecord:
        text = file.read_bytes()
        try:
            record = json.loads(text)
        except ValueError as exc:
            return BadRecord(text, f"not JSON: {exc}", origin=self.folder, place=file.name)
        return {"file": file.name, **record}
