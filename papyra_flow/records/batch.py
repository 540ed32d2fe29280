"""A batch: entries of one stream in columns, as the server's reply has them.

The hot path works on whole columns, so that a record costs a share of a few calls and no object of its own. An
`Entry` is made for the few that need one: those that failed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from papyra_flow.records.entries import DATA, Entry, Origin, value_of


class Before(NamedTuple):
    """What an entry was before it was put back: attempts that it has had, and where it came from."""

    attempts: int
    origin: Origin


class Batch:
    """Entries in columns, where a place stands for an entry; `deliveries` is None where all are first ones."""

    __slots__ = ("_deliveries", "_past", "_plain", "fields", "ids", "key")

    def __init__(
        self, key: str, ids: Sequence[bytes], fields: Sequence[Sequence[bytes]], deliveries: Sequence[int] | None = None
    ) -> None:
        self.key = key
        self.ids = ids
        self.fields = fields
        self._deliveries = deliveries
        self._past: Sequence[Before | None] | None = None
        self._plain: Sequence[bytes] | Literal[False] | None = None  # None: not looked at yet

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Batch:
        """Entries of one stream as a batch."""
        found = cls(
            entries[0].key,
            [entry.id for entry in entries],
            [entry.fields for entry in entries],
            [entry.deliveries for entry in entries],
        )
        if any(entry.came_from for entry in entries):
            found._past = [Before(0, entry.came_from) if entry.came_from else None for entry in entries]
        return found

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fresh(self) -> bool:
        """Whether these are new entries, as the group's read delivered them."""
        return self._deliveries is None

    def entry(self, place: int) -> Entry:
        """One of the entries by itself."""
        deliveries = self._deliveries[place] if self._deliveries is not None else 1
        if self._past is not None and (before := self._past[place]) is not None:
            attempts = deliveries + before.attempts
            return Entry(self.key, self.ids[place], self.fields[place], attempts, before.origin)
        return Entry(self.key, self.ids[place], self.fields[place], deliveries)

    def with_past(self, fields: Sequence[Sequence[bytes]], past: Sequence[Before | None]) -> Batch:
        """The same entries with these fields, and what each was before."""
        found = Batch(self.key, self.ids, fields, self._deliveries)
        found._past = past
        return found

    def without(self, gone: Collection[bytes]) -> Batch:
        """The batch without the entries that have these ids."""
        lives = [place for place, entry_id in enumerate(self.ids) if entry_id not in gone]
        deliveries = [self._deliveries[place] for place in lives] if self._deliveries is not None else None
        found = Batch(
            self.key, [self.ids[place] for place in lives], [self.fields[place] for place in lives], deliveries
        )
        found._past = [self._past[place] for place in lives] if self._past is not None else None
        return found

    def part(self, start: int, end: int) -> Batch:
        """The entries from one place to before another."""
        deliveries = self._deliveries[start:end] if self._deliveries is not None else None
        found = Batch(self.key, self.ids[start:end], self.fields[start:end], deliveries)
        found._past = self._past[start:end] if self._past is not None else None
        return found

    def plain(self) -> Sequence[bytes] | None:
        """The values of the field `data`, where every entry has that field and no other; else None."""
        if self._plain is None:
            self._plain = _plain(self.fields)
        return self._plain or None

    def values(self) -> list[bytes | None]:
        """The value of the field `data` of each entry, None where it has none."""
        return [value_of(fields) for fields in self.fields]


def _plain(fields: Sequence[Sequence[bytes]]) -> Sequence[bytes] | Literal[False]:
    if set(map(len, fields)) != {2}:
        return False
    values = [value for name, value in fields if name == DATA]
    return values if len(values) == len(fields) else False


def joined(batches: Sequence[Batch]) -> list[Batch]:
    """New entries read one after the other as one batch for each stream."""
    columns: dict[str, tuple[list[bytes], list[Sequence[bytes]]]] = {}
    for batch in batches:
        ids, fields = columns.setdefault(batch.key, ([], []))
        ids += batch.ids
        fields += batch.fields
    return [Batch(key, *both) for key, both in columns.items()]
