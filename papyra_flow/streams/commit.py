"""The commit: what a batch's entries became, acknowledged and forwarded in one atomic step.

A `Commit` collects outcomes entry by entry; `Committer.commit` sends them through `lua/commit.lua` in
portions that hold the server for a few milliseconds at the most. Repeating a commit after its reply was
lost is safe: entries acked by the first try are not ours any more, and are reported as stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from papyra_flow.errors import CommandRefusedError
from papyra_flow.streams.refusals import refusal
from papyra_flow.streams.scripts import call_script
from papyra_flow.streams.wire import Argument, Wire

MAX_ENTRIES = 1000
MAX_BYTES = 1024 * 1024

_FIRST_TARGET = 4


@dataclass(slots=True)
class Committed:
    """What the server says of a commit: entries acked by it, and ids that were not ours any more."""

    acked: int = 0
    stale: set[bytes] = field(default_factory=set)
    missing: set[bytes] = field(default_factory=set)
    """Only for an exclusive owner: ids that are not pending, for which nothing at all was committed."""


@dataclass(slots=True)
class Commit:
    """Outcomes of entries of one stream, as arguments of the script, in portions."""

    portions: list[list[Argument]] = field(default_factory=lambda: [[]])
    """What is still to be sent: a portion leaves when the server has answered it."""
    done: Committed = field(default_factory=Committed)
    _entries: int = 0
    _bytes: int = 0

    def ack(self, entry_id: bytes) -> None:
        """The entry became nothing: it was dropped, or written to a sink."""
        self._room(0)
        self.portions[-1] += (entry_id, b"0")

    def forward(self, entry_id: bytes, target: int, data: bytes) -> None:
        """The entry became one record without headers, for the target with this index."""
        self._room(len(data))
        self.portions[-1] += (entry_id, str(target + _FIRST_TARGET), data)

    def emit(self, entry_id: bytes, records: Sequence[tuple[int, Sequence[bytes]]]) -> None:
        """The entry became these records: target index, and flat fields."""
        self._room(sum(len(value) for _, fields in records for value in fields))
        portion = self.portions[-1]
        portion += (entry_id, f"*{len(records)}")
        for target, fields in records:
            portion += (target + _FIRST_TARGET, len(fields), *fields)

    def _room(self, size: int) -> None:
        if self._entries >= MAX_ENTRIES or (self._entries and self._bytes + size > MAX_BYTES):
            self.portions.append([])
            self._entries = self._bytes = 0
        self._entries += 1
        self._bytes += size


class Committer:
    """Commits for one group on one stream; `targets` are the keys that `Commit` counts from 0."""

    def __init__(
        self,
        wire: Wire,
        *,
        source: str,
        group: str,
        consumer: str,
        probe: str,
        lease: str | None,
        targets: Iterable[str],
    ) -> None:
        self._wire = wire
        self._keys = [source, probe, lease or probe, *targets]
        self._who = (group, consumer)

    async def commit(self, commit: Commit, *, epoch: int | None = None, checkpoint: str = "") -> Committed:
        """Commit all portions in order.

        With an `epoch` the caller is the exclusive owner of a sink: either every entry is still pending and
        all are acked and `checkpoint` is set, or nothing happens and `missing` says which are not; such a
        commit has to fit one portion. Raises FencedError, WrongKeyTypeError, TryAgainError or
        CommandRefusedError with nothing done for the entry at fault or those after it, ConnectionLostError
        with no word on what was done. Calling again with the same commit goes on where it stopped.
        """
        if epoch is not None and len(commit.portions) > 1:
            commit.portions = [[argument for portion in commit.portions for argument in portion]]
        head = (*self._who, "" if epoch is None else epoch, checkpoint)
        result = commit.done
        while commit.portions:
            if commit.portions[0]:
                reply = await call_script(self._wire, "commit", self._keys, [*head, *commit.portions[0]])
                if not isinstance(reply, list):
                    raise CommandRefusedError(f"the commit script answered {reply!r}")
                acked, stale, failure, missing = reply
                result.acked += acked
                result.stale.update(stale)
                result.missing.update(missing)
                if failure:
                    raise refusal(failure.decode(errors="replace"))
            commit.portions.pop(0)
        return result
