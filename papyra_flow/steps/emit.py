"""`Emit`: what a step function returns to say where a record goes, and with which headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a step function's module should not have to import pydantic for an `Emit`
    import polars as pl
    import pyarrow as pa
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Emit:
    """A record, or a table, and how it leaves the stage.

    `to` names one of the streams in the stage's `to` (its `when` is not asked then); `key` sets the header of
    that name; `headers` are added to those that the record came with.
    """

    record: Mapping[str, object] | BaseModel | pa.Table | pl.DataFrame
    to: str | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None

    def all_headers(self) -> dict[bytes, bytes] | None:
        """`key` and `headers` as an entry's fields, None where there are none."""
        if self.key is None and not self.headers:
            return None
        found = {name.encode(): value.encode() for name, value in (self.headers or {}).items()}
        if self.key is not None:
            found[b"key"] = self.key.encode()
        return found
