"""Sending the commit of a partition's owner, through `lua/own_commit.lua`.

Each commit has a number, so that repeating one whose reply was lost does nothing twice. One that changes no state goes
in portions, each of which moves the group as far as it got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from papyra_flow.errors import CommandRefusedError, FencedError, GroupMovedError, PapyraFlowError, ServerError
from papyra_flow.streams.commit.commit import MAX_BYTES, Commit
from papyra_flow.streams.commit.operations import MoveCheckpoint, StateChanges
from papyra_flow.streams.commit.ownership import Ownership
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.scripts import call_script, is_unknown, source_of

FIRST_TARGET = 8
"""The number of the first target among the script's keys."""

MAX_RECORDS = 250
"""Entries and records of a portion at most: about 1 ms of the server's time, as there is nothing to acknowledge."""

_AT_ONCE = 8
"""Portions on their way at most; each is refused while the one before it has not been done."""


@dataclass(slots=True)
class OwnedCommit:
    """What an owner commits at once: what entries became, and what changes with that."""

    commit: Commit
    source: str
    """The stream's key."""
    ids: Sequence[bytes]
    """The entries, in their order; none where only timers went off."""
    moves: bool = True
    """Whether the group moves behind them; else they were pending, and are acknowledged."""
    changes: StateChanges = field(default_factory=StateChanges)
    kept: Mapping[str, str] = field(default_factory=dict)
    """Fields of the lease that change, such as watermarks."""
    portions: list[_Portion] | None = None
    """Those that are still to be sent; None before the first try."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _Portion:
    ids: Sequence[bytes]
    records: list[Argument]
    last: bool


class OwnedCommitter:
    """Commits for the owner of one partition; `targets` are the keys that `Commit` counts from 0."""

    def __init__(
        self, client: Client, ownership: Ownership, *, group: str, probe: str, ledger: str, targets: Sequence[str],
        sink_lease: str | None = None,
    ) -> None:  # fmt: skip
        self._client = client
        self._ownership = ownership
        self._group = group
        self._probe = probe
        self._ledger = ledger
        self._targets = list(targets)
        self._sink_lease = sink_lease or probe

    async def commit(self, owned: OwnedCommit, checkpoint: MoveCheckpoint | None = None) -> set[bytes]:
        """Commit all portions in order; returns ids that are not pending any more, and then nothing was committed.

        Raises FencedError if the partition has another owner, GroupMovedError if the group was moved by hand,
        GroupGoneError, WrongKeyTypeError, TryAgainError or CommandRefusedError with nothing done for the portion at
        fault or those after it, ConnectionLostError with no word on what was done. Calling again with the same commit
        goes on where it stopped.
        """
        if owned.portions is None:
            owned.portions = self._portions(owned, whole=checkpoint is not None)
        while owned.portions:
            try:
                replies = await self._send(owned, owned.portions[:_AT_ONCE], checkpoint)
            except CommandRefusedError as exc:
                raise _meaning(exc) from exc
            for place, reply in enumerate(replies):
                if isinstance(reply, ServerError):
                    raise _meaning(reply)
                if not isinstance(reply, list):
                    raise CommandRefusedError(f"the commit script answered {reply!r}")
                if reply[0] == b"EARLY":
                    if place == 0:
                        raise FencedError(f"the server lost the last commits of {self._ownership.keys.lease}")
                    break  # the one before it was refused: it is the first to go now
                if reply[0] == b"MISSING":
                    return set(reply[1:])
                self._done(owned, owned.portions.pop(0))
        return set()

    def _done(self, owned: OwnedCommit, portion: _Portion) -> None:
        self._ownership.commits += 1
        if owned.moves and portion.ids:
            self._ownership.positions[owned.source] = portion.ids[-1]

    def _portions(self, owned: OwnedCommit, *, whole: bool) -> list[_Portion]:
        commit, ids = owned.commit, owned.ids
        if whole or owned.changes or not owned.moves or not ids:
            return [_Portion(ids, commit.records(0, len(commit), FIRST_TARGET), last=True)]
        commit.arrange(ids)
        return [
            _Portion(ids[start:end], commit.records(start, end, FIRST_TARGET), last=end == len(ids))
            for start, end in pairwise(commit.cuts(MAX_RECORDS, MAX_BYTES))
        ]

    async def _send(
        self, owned: OwnedCommit, portions: Sequence[_Portion], checkpoint: MoveCheckpoint | None
    ) -> Sequence[Reply | ServerError]:
        ownership = self._ownership
        keys = [
            self._probe, ownership.keys.lease, owned.source, self._ledger, ownership.keys.state, ownership.keys.timers,
            self._sink_lease, *self._targets,
        ]  # fmt: skip
        number, stands = ownership.commits, ownership.positions[owned.source]
        calls: list[list[Argument]] = []
        for portion in portions:
            number += 1
            calls.append(self._arguments(owned, portion, number, stands, checkpoint))
            stands = portion.ids[-1] if owned.moves and portion.ids else stands
        if len(calls) == 1:
            return [await call_script(self._client, "own_commit", keys, calls[0])]
        _, sha = source_of("own_commit")
        replies = await self._client.call_many([("EVALSHA", sha, len(keys), *keys, *call) for call in calls])
        if is_unknown(replies[0]):
            return [await call_script(self._client, "own_commit", keys, calls[0])]
        return replies

    def _arguments(
        self, owned: OwnedCommit, portion: _Portion, number: int, stands: bytes, checkpoint: MoveCheckpoint | None
    ) -> list[Argument]:
        moves = bool(owned.moves and portion.ids)
        sink: tuple[Argument, ...] = ("", "", "")
        if checkpoint is not None:
            sink = (checkpoint.epoch, checkpoint.before, checkpoint.after)
        kept = owned.kept if portion.last else {}
        changes = owned.changes if portion.last else StateChanges()
        arguments: list[Argument] = [
            self._group, self._ownership.token, number, stands, portion.ids[-1] if moves else "",
            len(portion.ids) if moves else 0, *sink, len(kept),
        ]  # fmt: skip
        for name, value in kept.items():
            arguments += (name, value)
        acked = () if owned.moves else portion.ids
        arguments += (len(acked), *acked)
        arguments += portion.records
        for column in (changes.put, changes.deleted, changes.timers, changes.deleted_timers):
            arguments += (len(column), *column)
        return arguments


def _meaning(error: ServerError) -> PapyraFlowError:
    """What an error reply of the script stands for."""
    text = str(error)
    if "FENCED" in text:
        return FencedError(text.partition("FENCED ")[2])
    if "ELSEWHERE" in text:
        return GroupMovedError(text.partition("ELSEWHERE ")[2])
    return error
