"""`Emit`: what a step function returns to say where a record goes, and with which headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError

if TYPE_CHECKING:  # a step function's module should not have to import pydantic for an `Emit`
    import polars as pl
    import pyarrow as pa
    from pydantic import BaseModel

DATA = "data"


@dataclass(frozen=True, slots=True)
class Emit:
    """A record, or a table, and how it leaves the stage. Since 0.1.

    `to` names one of the streams in the stage's `to` (its `when` is not asked then); `key` sets the header of
    that name; `headers` are added to those that the record came with. Names and values are text.
    """

    record: Mapping[str, object] | BaseModel | pa.Table | pl.DataFrame
    to: str | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None

    def check(self) -> None:
        """Raise RecordError for what would not leave as it stands here."""
        if self.to is not None:
            _check_text("to", self.to, "the name of a stream")
        if self.key is not None:
            _check_text("key", self.key, "text")
        if self.headers is None:
            return
        if not isinstance(self.headers, Mapping):
            raise RecordError(f"Emit: `headers` has to be a dict of text, not {shown(self.headers)}")
        for name, value in self.headers.items():
            _check_text("headers", name, "text", named="the name of a header in ")
            if not name:
                raise RecordError("Emit: the name of a header in `headers` is empty")
            if name == DATA:
                raise RecordError("Emit: a header cannot be called 'data': the record itself is there")
            _check_text("headers", value, "text", named=f"the header {shown(name)} in ")
        if self.key is not None and self.headers.get("key", self.key) != self.key:
            raise RecordError(f"Emit: `key` is {shown(self.key)}, and the header 'key' {shown(self.headers['key'])}")

    def all_headers(self) -> dict[bytes, bytes] | None:
        """`key` and `headers` as an entry's fields, None where there are none."""
        if self.key is None and not self.headers:
            return None
        found = {name.encode(): value.encode() for name, value in (self.headers or {}).items()}
        if self.key is not None:
            found[b"key"] = self.key.encode()
        return found


def _check_text(field: str, value: object, expected: str, *, named: str = "") -> None:
    if not isinstance(value, str):
        raise RecordError(f"Emit: {named}`{field}` has to be {expected}, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecordError(f"Emit: {named}`{field}` is not UTF-8 text: {shown(value)}") from None
