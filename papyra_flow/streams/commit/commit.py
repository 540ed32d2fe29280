"""The commit: what follows from a batch's entries, to be done with their acknowledgement in one atomic step.

It is a list of operations an entry (`operations`); entries that became one plain record, or nothing, stand in columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from papyra_flow.errors import RecordError
from papyra_flow.streams.commit.operations import FIRST_TARGET, Forward, Operation, Wait
from papyra_flow.streams.connection.client import Argument

MAX_RECORDS = 125
"""Maximum entries and records of a portion: about 1 ms of the server's time (`python -m benchmarks server`)."""

MAX_BYTES = 1024 * 1024
MAX_FIELDS = 3500
"""Maximum fields of one record: Lua's unpack takes no more than 8,000 values, and fails after the XACK."""

MAX_FAN_OUT = 10_000
"""Maximum records of one entry: they are one script, and must not block the server for long."""

NOWHERE = -1
"""The target of an entry that became nothing."""

_MANY = -2
"""The target of an entry from which more follows than a plain record."""


def refuse_wide(fields: Sequence[bytes]) -> None:
    """Raise RecordError for a record with more fields than a commit can carry."""
    if len(fields) > 2 * MAX_FIELDS:
        raise RecordError(f"the record has {len(fields) // 2:,} fields, more than the {MAX_FIELDS:,} of a commit")


@dataclass(slots=True)
class Committed:
    """What the server says of a commit: entries acked by it, and ids that were not ours any more."""

    acked: int = 0
    stale: set[bytes] = field(default_factory=set)
    missing: set[bytes] = field(default_factory=set)
    """Only for an exclusive owner: ids that are not pending, for which nothing at all was committed."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one script gets: its arguments, and the id of its last entry."""

    last: bytes
    arguments: list[Argument]


class Commit:
    """Outcomes of entries of one stream: an entry's id, the number of its target, and its record's `data`."""

    __slots__ = ("_many", "_payloads", "_targets", "done", "ids", "waiting")

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self._targets: list[int] = []
        self._payloads: list[bytes] = []
        self._many: dict[int, Sequence[Operation]] = {}
        self.done = Committed()
        self.waiting: list[Call] | None = None
        """Portions that are still to be sent: one leaves when the server has answered it. None before the first try."""

    def __len__(self) -> int:
        return len(self.ids)

    def extend(self, ids: Sequence[bytes], targets: Sequence[int], payloads: Sequence[bytes]) -> None:
        """Each entry became one record without headers, or nothing where its target is `NOWHERE`."""
        self.ids += ids
        self._targets += targets
        self._payloads += payloads

    def ack(self, entry_id: bytes) -> None:
        """The entry became nothing: it was dropped, or written to a sink."""
        self.forward(entry_id, NOWHERE, b"")

    def forward(self, entry_id: bytes, target: int, data: bytes) -> None:
        """The entry became one record without headers, for the target with this number."""
        self.ids.append(entry_id)
        self._targets.append(target)
        self._payloads.append(data)

    def add(self, entry_id: bytes, operations: Sequence[Operation]) -> None:
        """These operations follow from the entry; raises RecordError for more than a commit can carry."""
        if len(operations) > MAX_FAN_OUT:
            raise RecordError(f"the record became {len(operations):,}, more than the {MAX_FAN_OUT:,} of a commit")
        for operation in operations:
            if isinstance(operation, Forward):
                refuse_wide(operation.fields)
        self._many[len(self.ids)] = operations
        self.forward(entry_id, _MANY, b"")

    def emit(self, entry_id: bytes, records: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """The entry became these records: target's number, and flat fields; raises RecordError as `add` does."""
        self.add(entry_id, [Forward(target, fields) for target, fields in records])

    def wait(self, entry_id: bytes, milliseconds: int, fields: Sequence[bytes]) -> bool:
        """The entry waits on the server for another attempt; False, and nothing done, if it has too many fields."""
        if len(fields) > 2 * MAX_FIELDS:
            return False
        self.add(entry_id, [Wait(milliseconds, fields)])
        return True

    def outcomes(self) -> Iterator[tuple[int, Sequence[bytes]]]:
        """What is forwarded of all entries, in order: a target's number, and a record's flat fields."""
        for place, target in enumerate(self._targets):
            if target == _MANY:
                yield from (operation for operation in self._many[place] if isinstance(operation, Forward))
            elif target != NOWHERE:
                yield target, (b"data", self._payloads[place])

    def mark(self, name: bytes, value: bytes, targets: Collection[int]) -> bool:
        """Give the first record that goes to one of these targets one more header; False if none does."""
        for place, target in enumerate(self._targets):
            if target == _MANY:
                many = self._many[place]
                for number, operation in enumerate(many):
                    if isinstance(operation, Forward) and operation.target in targets:
                        marked = Forward(operation.target, [*operation.fields, name, value])
                        self._many[place] = [*many[:number], marked, *many[number + 1 :]]
                        return True
            elif target in targets:
                self._targets, self._payloads = list(self._targets), list(self._payloads)
                self._widen(place, name, value)
                return True
        return False

    def mark_all(self, name: bytes, value: bytes, targets: Collection[int]) -> None:
        """Give every record that goes to one of these targets this header, in place of one of that name."""
        self._targets, self._payloads = list(self._targets), list(self._payloads)
        for place, target in enumerate(self._targets):
            if target == _MANY:
                self._many[place] = [
                    Forward(operation.target, _with_header(operation.fields, name, value))
                    if isinstance(operation, Forward) and operation.target in targets
                    else operation
                    for operation in self._many[place]
                ]
            elif target in targets:
                self._widen(place, name, value)

    def _widen(self, place: int, name: bytes, value: bytes) -> None:
        """Give a plain record a header, which takes it out of the columns."""
        self._many[place] = [Forward(self._targets[place], (b"data", self._payloads[place], name, value))]
        self._targets[place], self._payloads[place] = _MANY, b""

    def seal(self, *, whole: bool = False) -> list[Call]:
        """What is to be sent, in portions, or all in one that is `whole`."""
        cuts = [0, len(self.ids)] if whole else self.cuts(MAX_RECORDS, MAX_BYTES)
        return [Call(self.ids[end - 1], self._arguments(start, end)) for start, end in pairwise(cuts) if start < end]

    def cuts(self, most: int, most_bytes: int) -> list[int]:
        """Where its portions begin and end: entries and records of each, and their bytes, are at most so many."""
        size = len(self.ids)
        if not self._many and sum(map(len, self._payloads)) <= most_bytes:
            found = [*range(0, size, most), size]
        else:
            found = [0, *self._cuts(most, most_bytes), size]
        return found if size else [0]

    def arrange(self, ids: Sequence[bytes]) -> None:
        """Put the entries into the order of these ids, which are all of them."""
        if self.ids == ids or list(ids) == self.ids:
            return
        places = {entry_id: place for place, entry_id in enumerate(self.ids)}
        order = [places[entry_id] for entry_id in ids]
        self._targets, self._payloads = [self._targets[p] for p in order], [self._payloads[p] for p in order]
        self._many = {place: self._many[old] for place, old in enumerate(order) if old in self._many}
        self.ids = list(ids)

    def records(self, start: int, end: int, first: int) -> list[Argument]:
        """How many records the entries from one place to another became, and each of them: a target's key and `data`.

        In place of those two: '*', the key, how many arguments follow, and they. `first` is the first target's key.
        """
        targets, payloads = self._targets[start:end], self._payloads[start:end]
        if not self._many and set(targets) <= {NOWHERE}:
            return [0]
        names: list[Argument] = [b"%d" % (target + first) for target in range(max(targets, default=NOWHERE) + 1)]
        if not self._many and NOWHERE not in targets:
            plain: list[Argument] = [b""] * (2 * len(targets))
            plain[0::2] = [names[target] for target in targets]
            plain[1::2] = payloads
            return [len(targets), *plain]
        found: list[Argument] = [0]
        count = 0
        for place, target in enumerate(targets, start):
            if target == _MANY:
                for operation in self._many[place]:
                    if isinstance(operation, Forward):
                        found += (b"*", operation.target + first, len(operation.fields), *operation.fields)
                        count += 1
            elif target != NOWHERE:
                found += (names[target], payloads[place - start])
                count += 1
        found[0] = count
        return found

    def _cuts(self, most: int, most_bytes: int) -> Iterator[int]:
        records = size = 0
        for place, payload in enumerate(self._payloads):
            many = self._many.get(place, ())
            more = 1 + len(many)
            more_bytes = len(payload) + sum(map(_size, many))
            if records and (records + more > most or size + more_bytes > most_bytes):
                yield place
                records = size = 0
            records += more
            size += more_bytes

    def _arguments(self, start: int, end: int) -> list[Argument]:
        names: list[Argument] = [b"%d" % (target + FIRST_TARGET) for target in range(max(self._targets) + 1)]
        names += (b"*", b"0")  # what _MANY and NOWHERE count to from the end
        arguments: list[Argument] = [b""] * (3 * (end - start))
        arguments[0::3] = self.ids[start:end]
        arguments[1::3] = [names[target] for target in self._targets[start:end]]
        arguments[2::3] = self._payloads[start:end]
        for place in sorted(self._many):
            if start <= place < end:
                operations = self._many[place]
                arguments[3 * (place - start) + 2] = len(operations)
                for operation in operations:
                    arguments += operation.arguments()
        return [end - start, *arguments]


def _size(operation: Operation) -> int:
    """Bytes of an operation, as far as they depend on the record."""
    if isinstance(operation, Forward | Wait):
        return sum(map(len, operation.fields))
    return sum(len(part) for part in operation if isinstance(part, bytes))


def _with_header(fields: Sequence[bytes], name: bytes, value: bytes) -> list[bytes]:
    kept = [part for place in range(0, len(fields), 2) if fields[place] != name for part in fields[place : place + 2]]
    return [*kept, name, value]
