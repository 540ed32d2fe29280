"""What a batch became on its way through a stage: all that a delivery needs to know of it, and a test driver too.

Entries that became one plain record, or nothing, stand in columns; what is out of the ordinary stands beside them, by
the place of its entry in the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from papyra_flow.records.entries import DATA
from papyra_flow.records.rows import Failures
from papyra_flow.streams.commit.commit import NOWHERE
from papyra_flow.streams.commit.operations import Change

Emitted: TypeAlias = tuple[int, Sequence[bytes]]
"""A record or table that leaves: the number of its target, and its entry's flat fields."""


@dataclass(frozen=True, slots=True)
class Became:
    """What one entry became, or all entries of a batch together."""

    emitted: Sequence[Emitted] = ()
    payloads: Sequence[bytes] = ()
    """For a sink, in place of `emitted`: records as it writes them."""
    dropped: int = 0
    """Records, or rows of a table, that became nothing."""
    rows: Mapping[int, int] | None = None
    """Rows for each target, where what is emitted may be tables; None where each is one record."""
    bad: Sequence[tuple[Sequence[bytes], Exception]] = ()
    """Rows that failed and were split off from their table: flat fields, and what each met."""
    pieces: Sequence[Sequence[bytes]] = ()
    """Parts of the entry, as flat fields, that are put back to be tried one by one."""
    changes: Sequence[Change] = ()
    """State and timers that change with it."""


@dataclass(slots=True)
class Tally:
    """What left, counted: by the number of the target, entries and the records or rows in them."""

    entries: Counter[int] = field(default_factory=Counter)
    records: Counter[int] = field(default_factory=Counter)
    written: int = 0
    dropped: int = 0
    bad: int = 0


@dataclass(slots=True)
class Outcome:
    """What a batch became; an entry is in one of the columns, in `became`, or in `failures`."""

    ids: Sequence[bytes] = ()
    targets: Sequence[int] = ()
    """The number of the target of each of these ids, `NOWHERE` for an entry that became nothing."""
    data: Sequence[bytes] = ()
    """What each of them became, as the field `data` of an entry."""
    done: Sequence[bytes] = ()
    """Ids that are only acknowledged: what they became is in `payloads`, or part of what another entry became."""
    payloads: Sequence[tuple[int, bytes]] = ()
    """For a sink: records as it writes them, each with the place of its entry."""
    became: dict[int, Became] = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)
    together: bool = False
    """Whether the entries became something as one: all of them are committed, or none."""
    rows: int = 0
    """Rows of the tables that came in."""

    def fail(self, place: int, exc: Exception, batch_size: int) -> None:
        """What an entry became cannot leave; where entries became something together, they fail together."""
        if self.together:
            self.failures = {**dict.fromkeys(range(batch_size), exc), **self.failures}
            self.became, self.done = {}, ()
        else:
            del self.became[place]
            self.failures = {**self.failures, place: exc}

    def refuse(self, refused: Sequence[tuple[int, bytes, Exception]], ids: Sequence[bytes]) -> None:
        """A sink was refused these payloads of entries: what all others became stands.

        An entry that is a record fails with any record that was made of it; of a table only the row is dead.
        """
        failed: Failures = {}
        for place, payload, exc in refused:
            if (became := self.became.get(place)) is None:
                failed[place] = exc
            else:
                kept = list(became.payloads)
                kept.remove(payload)
                self.became[place] = replace(became, payloads=kept, bad=[*became.bad, ((DATA, payload), exc)])
        if failed:
            gone = {ids[place] for place in failed}
            self.payloads = [pair for pair in self.payloads if pair[0] not in failed]
            self.done = [entry_id for entry_id in self.done if entry_id not in gone]
            self.failures = {**self.failures, **failed}

    def for_sink(self) -> Iterator[tuple[int, bytes]]:
        """All that a sink is to write, with the places of the entries, in order."""
        yield from self.payloads
        for place, became in self.became.items():
            for payload in became.payloads:
                yield place, payload

    def tally(self, ids: Sequence[bytes], stale: Collection[bytes] = ()) -> Tally:
        """Count what left of a batch with these `ids`, except what `stale` entries became."""
        entries = self._in_columns(stale)
        dropped = entries.pop(NOWHERE, 0)
        # Mostly these are one: counters are not cheap where a batch is a single record.
        found = Tally(entries, Counter(entries) if self.became else entries, dropped=dropped)
        found.written = sum(ids[place] not in stale for place, _ in self.payloads) if stale else len(self.payloads)
        for place, became in self.became.items():
            if ids[place] in stale:
                continue
            found.dropped += became.dropped
            found.written += len(became.payloads)
            found.bad += len(became.bad)
            for target, _ in became.emitted:
                found.entries[target] += 1
                if became.rows is None:
                    found.records[target] += 1
            if became.rows is not None:
                found.records.update(became.rows)
        return found

    def _in_columns(self, stale: Collection[bytes]) -> Counter[int]:
        targets = self.targets
        if stale:
            return Counter(target for id_, target in zip(self.ids, targets, strict=True) if id_ not in stale)
        if targets and targets.count(targets[0]) == len(targets):
            return Counter({targets[0]: len(targets)})
        return Counter(targets)
