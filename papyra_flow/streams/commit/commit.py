"""The commit: what a batch's entries became, acknowledged and forwarded in one atomic step.

A `Commit` collects outcomes in columns; `Committer.commit` sends them through `lua/commit.lua` in portions that
hold the server for a few milliseconds at the most. Repeating a commit after its reply was lost is safe: entries
acked by the first try are not ours any more, and are reported as stale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from papyra_flow.errors import CommandRefusedError, RecordError, ServerError
from papyra_flow.streams.commit.operations import MoveCheckpoint
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.connection.server_errors import refusal
from papyra_flow.streams.scripts import call_script, is_unknown, source_of

MAX_RECORDS = 125
"""Entries and records of a portion at the most: about 1 ms of the server's time (`python -m benchmarks server`)."""

MAX_BYTES = 1024 * 1024
MAX_FIELDS = 3500
"""Fields of one record at the most: Lua's unpack takes no more than 8,000 values, and fails after the XACK."""

MAX_FAN_OUT = 10_000
"""Records of one entry at the most: they are one script, and must not hold the server for long."""

NOWHERE = -1
"""The target of an entry that became nothing."""

_MANY = -2
_LATER = -3
"""The target of a record that waits for another attempt."""

_FIRST_TARGET = 4
_AT_ONCE = 8
"""Portions on their way at the most; each is refused by the server while the one before it has not been done."""


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
class Portion:
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
        self._many: dict[int, Sequence[tuple[int, Sequence[bytes]]]] = {}
        self.done = Committed()
        self.waiting: list[Portion] | None = None
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

    def emit(self, entry_id: bytes, records: Sequence[tuple[int, Sequence[bytes]]]) -> None:
        """The entry became these records: target's number, and flat fields; raises RecordError for too many."""
        if len(records) > MAX_FAN_OUT:
            raise RecordError(f"the record became {len(records):,}, more than the {MAX_FAN_OUT:,} of a commit")
        for _, fields in records:
            refuse_wide(fields)
        self._many[len(self.ids)] = records
        self.forward(entry_id, _MANY, b"")

    def wait(self, entry_id: bytes, milliseconds: int, fields: Sequence[bytes]) -> bool:
        """The entry waits on the server for another attempt; False, and nothing done, if it has too many fields."""
        if len(fields) > 2 * MAX_FIELDS:
            return False
        self._many[len(self.ids)] = [(_LATER, (b"%d" % milliseconds, *fields))]
        self.forward(entry_id, _MANY, b"")
        return True

    def outcomes(self) -> Iterator[tuple[int, Sequence[bytes]]]:
        """What all entries become, in order: a target's number, and a record's flat fields."""
        for place, target in enumerate(self._targets):
            if target == _MANY:
                yield from (record for record in self._many[place] if record[0] != _LATER)
            elif target != NOWHERE:
                yield target, (b"data", self._payloads[place])

    def mark(self, name: bytes, value: bytes, targets: Collection[int]) -> bool:
        """Give the first record that goes to one of these targets one more header; False if none does."""
        for place, target in enumerate(self._targets):
            if target == _MANY:
                records = self._many[place]
                for number, (to, fields) in enumerate(records):
                    if to in targets:
                        self._many[place] = [*records[:number], (to, [*fields, name, value]), *records[number + 1 :]]
                        return True
            elif target in targets:
                self._many[place] = [(target, (b"data", self._payloads[place], name, value))]
                self._targets, self._payloads = list(self._targets), list(self._payloads)
                self._targets[place], self._payloads[place] = _MANY, b""
                return True
        return False

    def mark_all(self, name: bytes, value: bytes, targets: Collection[int]) -> None:
        """Give every record that goes to one of these targets this header, in place of one of that name."""
        self._targets, self._payloads = list(self._targets), list(self._payloads)
        for place, target in enumerate(self._targets):
            if target == _MANY:
                self._many[place] = [
                    (to, _with_header(fields, name, value) if to in targets else fields)
                    for to, fields in self._many[place]
                ]
            elif target in targets:
                self._many[place] = [(target, (b"data", self._payloads[place], name, value))]
                self._targets[place], self._payloads[place] = _MANY, b""

    def seal(self, *, whole: bool = False) -> list[Portion]:
        """What is to be sent, in portions, or all in one that is `whole`."""
        size = len(self.ids)
        if whole:
            cuts = [0, size]
        elif not self._many and sum(map(len, self._payloads)) <= MAX_BYTES:
            cuts = [*range(0, size, MAX_RECORDS), size]
        else:
            cuts = [0, *self._cuts(), size]
        return [Portion(self.ids[end - 1], self._arguments(start, end)) for start, end in pairwise(cuts) if start < end]

    def _cuts(self) -> Iterator[int]:
        records = size = 0
        for place, payload in enumerate(self._payloads):
            many = self._many.get(place, ())
            more = 1 + len(many)
            more_bytes = len(payload) + sum(len(value) for _, fields in many for value in fields)
            if records and (records + more > MAX_RECORDS or size + more_bytes > MAX_BYTES):
                yield place
                records = size = 0
            records += more
            size += more_bytes

    def _arguments(self, start: int, end: int) -> list[Argument]:
        names: list[Argument] = [b"%d" % (target + _FIRST_TARGET) for target in range(max(self._targets) + 1)]
        names += (b"*", b"0")  # what _MANY and NOWHERE count to from the end
        arguments: list[Argument] = [b""] * (3 * (end - start))
        arguments[0::3] = self.ids[start:end]
        arguments[1::3] = [names[target] for target in self._targets[start:end]]
        arguments[2::3] = self._payloads[start:end]
        for place in sorted(self._many):
            if start <= place < end:
                records = self._many[place]
                arguments[3 * (place - start) + 2] = len(records)
                for target, fields in records:
                    arguments += (b"later" if target == _LATER else target + _FIRST_TARGET, len(fields), *fields)
        return [end - start, *arguments]


def _with_header(fields: Sequence[bytes], name: bytes, value: bytes) -> list[bytes]:
    kept = [part for place in range(0, len(fields), 2) if fields[place] != name for part in fields[place : place + 2]]
    return [*kept, name, value]


class Committer:
    """Commits for one group on one stream; `targets` are the keys that `Commit` counts from 0."""

    def __init__(
        self,
        client: Client,
        *,
        source: str,
        group: str,
        consumer: str,
        probe: str,
        lease: str | None,
        targets: Iterable[str],
        ledger: str,
        later: str | None = None,
    ) -> None:
        """`later` is the set of records that wait for another attempt."""
        self._client = client
        self._keys = [source, probe, lease or probe, *targets, later or probe, ledger]
        self._who = (group, consumer)

    async def commit(
        self,
        commit: Commit,
        *,
        together: bool = False,
        checkpoint: MoveCheckpoint | None = None,
    ) -> Committed:
        """Commit all portions in order.

        `together` is for entries that became something as one: either every entry is still pending and all are
        acked, or nothing happens and `missing` says which are not; such a commit is one portion. With a `checkpoint`
        the caller is the exclusive owner of a sink: the same, and its checkpoint moves with it; FencedError if it is
        elsewhere, because another owner moved it or the server lost something. Raises
        WrongKeyTypeError, TryAgainError or CommandRefusedError with nothing done for the entry at fault or those
        after it, ConnectionLostError with no word on what was done. Calling again with the same commit goes on
        where it stopped.
        """
        if commit.waiting is None:
            commit.waiting = commit.seal(whole=together or checkpoint is not None)
        head: tuple[Argument, ...] = (*self._who, "all" if together else "", "", "")
        if checkpoint is not None:
            head = (*self._who, checkpoint.epoch, checkpoint.before, checkpoint.after)
        while commit.waiting:
            for reply in await self._send(head, commit.waiting[:_AT_ONCE]):
                if _is_early(reply):
                    break  # the one before it was refused, or is somebody else's by now: it is the first to go now
                _note(reply, commit.done)
                commit.waiting.pop(0)
        return commit.done

    async def _send(self, head: Sequence[Argument], portions: Sequence[Portion]) -> Sequence[Reply | ServerError]:
        """Send portions in one go, and return the replies to those that the server knew the script for.

        Where it does not know it for the first, that one is sent again with the script; what comes behind it waits.
        """
        first = (*head, b"", *portions[0].arguments)
        if len(portions) == 1:
            return [await call_script(self._client, "commit", self._keys, first)]
        _, sha = source_of("commit")
        calls = [("EVALSHA", sha, len(self._keys), *self._keys, *first)]
        for before, portion in pairwise(portions):
            calls.append(("EVALSHA", sha, len(self._keys), *self._keys, *head, before.last, *portion.arguments))
        replies = await self._client.call_many(calls)
        known = next((place for place, reply in enumerate(replies) if is_unknown(reply)), len(replies))
        if not known:
            return [await call_script(self._client, "commit", self._keys, first)]
        return replies[:known]


def _is_early(reply: Reply | ServerError) -> bool:
    return isinstance(reply, list) and reply[2] == b"EARLY"


def _note(reply: Reply | ServerError, done: Committed) -> None:
    """Count what a portion's reply says; raises what went wrong with it."""
    if isinstance(reply, ServerError):
        raise reply
    if not isinstance(reply, list):
        raise CommandRefusedError(f"the commit script answered {reply!r}")
    acked, stale, failure, missing = reply
    done.acked += acked
    done.stale.update(stale)
    done.missing.update(missing)
    if failure:
        raise refusal(failure.decode(errors="replace"))
