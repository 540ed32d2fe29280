"""`Context`: what a step function may ask about the record that it is called with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Entry, parse_id
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Rows
from papyra_flow.spec.components import SetupContext

TIME = "ts"
"""The header that holds a record's own time: milliseconds since 1970, or ISO 8601."""
LAST = datetime.max.replace(tzinfo=UTC)


class Context:
    """The record that a step function is called with: where it is, and where it came from. Since 0.2.

    A function with a parameter that is annotated with `Context`, or with a second one that is called `context`, gets
    one; with `batch: true` it gets a list of them, one for each record. A function of tables gets that of the table's
    entry; for a table that `batch` made of records, that of the first of them.
    """

    __slots__ = ("_entry", "_headers", "_setup", "index")

    def __init__(
        self, setup: SetupContext, entry: Entry, headers: Callable[[], Headers], index: int | None = 0
    ) -> None:
        self._setup = setup
        self._entry = entry
        self._headers = headers
        self.index = index
        """The record's place among those that earlier steps of the stage made of its entry, from 0.

        None for a row of a table, which is taken apart where a row fails.
        """

    def __repr__(self) -> str:
        return f"Context({self.stage}/{self.stream}/{self.id})"

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self._setup.pipeline

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self._setup.stage

    @property
    def folder(self) -> Path:
        """The pipeline's folder, which relative paths start from."""
        return self._setup.folder

    @property
    def logger(self) -> logging.Logger:
        """A logger of the stage's own, whose messages appear among those of the run."""
        return self._setup.logger

    def count(self, name: str, number: int = 1) -> None:
        """Count something of the step's own, as `SetupContext.count` does."""
        self._setup.count(name, number)

    def observe(self, name: str, value: float) -> None:
        """Measure a value of the step's own, as `SetupContext.observe` does. Since 0.2."""
        self._setup.observe(name, value)

    def timer(self, name: str) -> AbstractContextManager[None]:
        """Measure how long a block takes, as `SetupContext.timer` does. Since 0.2."""
        return self._setup.timer(name)

    @property
    def stream(self) -> str:
        """The key of the stream that the record's entry came to the stage in, whatever it was replayed from since."""
        return self._entry.origin.key

    @property
    def id(self) -> str:
        """The id of the record's entry in that stream."""
        return self._entry.origin.id.decode()

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the record's entry, and over them those that an `Emit` of an earlier step added."""
        return self._headers()

    @property
    def time(self) -> datetime:
        """When it happened: the header `ts`, or else when the entry was added to its stream."""
        own = self.headers.get(TIME)
        return (_time_of(own) if own is not None else None) or _from_milliseconds(parse_id(self._entry.origin.id)[0])

    @property
    def attempt(self) -> int:
        """How often the record has been delivered to the stage, this time included."""
        return self._entry.deliveries

    @property
    def idempotency_key(self) -> str:
        """A name for this record in this stage: the same whenever it is tried again, redelivered or replayed.

        Raises RecordError for a row of a table: that has none of its own, only the table has.
        """
        if self.index is None:
            raise RecordError("a row of a table has no idempotency key: let the function take the table")
        return f"{self.stage}/{self.stream}/{self.id}/{self.index}"


def contexts_of(
    setup: SetupContext,
    rows: Rows,
    entry: Callable[[int], Entry],
    headers: Callable[[int], Headers],
    *,
    numbered: bool = True,
) -> list[Context]:
    """A context for each row, given an entry and its headers by their place."""
    seen: Counter[int] = Counter()
    found: list[Context] = []
    for number, place in enumerate(rows.origins):
        note = rows.notes[number] if rows.notes is not None else None
        added = note.headers if note is not None else None
        found.append(
            Context(setup, entry(place), partial(_headers, headers, place, added), seen[place] if numbered else None)
        )
        seen[place] += 1
    return found


def _headers(headers: Callable[[int], Headers], place: int, added: Mapping[bytes, bytes] | None) -> Headers:
    return headers(place).over(added)


def _time_of(text: str) -> datetime | None:
    """A header's time; None for what is none."""
    try:
        return _from_milliseconds(float(text))
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _from_milliseconds(milliseconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # an id may be any number of 64 bits
        return LAST
