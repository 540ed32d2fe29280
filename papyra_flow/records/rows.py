"""Rows: the records of a batch on their way through a stage, in columns.

A row knows the place of the entry that it came from, because the entry is what is acknowledged: if anything made
of it fails, the entry fails as a whole and nothing of it is forwarded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple, TypeAlias

from papyra_flow.records.entries import Record
from papyra_flow.records.headers import Headers

Failures: TypeAlias = dict[int, Exception]
"""What went wrong, by the place of the entry in its batch."""


class Note(NamedTuple):
    """What an `Emit` says beside its record: the stream to go to, and headers to be added."""

    to: str | None
    headers: dict[bytes, bytes] | None


class Rows:
    """Records, the place that each came from, and what is noted on each (None where nothing is on any)."""

    __slots__ = ("notes", "origins", "records")

    def __init__(
        self, records: list[Record], origins: Sequence[int], notes: Sequence[Note | None] | None = None
    ) -> None:
        self.records = records
        self.origins = origins
        self.notes = notes

    def __len__(self) -> int:
        return len(self.records)

    @property
    def one_each(self) -> bool:
        """Whether no entry has become more than one row."""
        return isinstance(self.origins, range) or len(set(self.origins)) == len(self.origins)

    def with_headers(self, headers: Callable[[int], Headers]) -> list[tuple[Record, Headers]]:
        """Each record with the headers of its entry, and over them what is noted on it."""
        if self.notes is None:
            return [(record, headers(origin)) for record, origin in zip(self.records, self.origins, strict=True)]
        return [
            (record, headers(origin).over(note.headers) if note and note.headers else headers(origin))
            for record, origin, note in zip(self.records, self.origins, self.notes, strict=True)
        ]

    def only(self, keep: Sequence[bool]) -> Rows:
        """The rows that are kept."""
        return Rows(
            list(compress(self.records, keep)),
            list(compress(self.origins, keep)),
            list(compress(self.notes, keep)) if self.notes is not None else None,
        )

    def without(self, failures: Failures) -> Rows:
        """The rows of entries in which nothing failed."""
        return self.only([place not in failures for place in self.origins]) if failures else self
