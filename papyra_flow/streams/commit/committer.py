"""Sending a commit: through `lua/commit.lua`, in portions that each hold the server for at most a few milliseconds.

Repeating a commit after its reply was lost is safe: entries acked by the first try are not ours any more, and are
reported as stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from papyra_flow.errors import CommandRefusedError, ServerError
from papyra_flow.streams.commit.commit import Call, Commit, Committed
from papyra_flow.streams.commit.operations import MoveCheckpoint
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.connection.server_errors import refusal
from papyra_flow.streams.scripts import call_script, is_unknown, source_of

_AT_ONCE = 8
"""Maximum portions in flight; the server refuses each until the one before it is done."""


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
        states: Sequence[str] = (),
        timers: Sequence[str] = (),
    ) -> None:
        """`later` is the set of records that wait for another attempt; `states` are hashes, `timers` sorted sets."""
        self._client = client
        self._keys = [source, probe, lease or probe, *targets, *states, *timers, later or probe, ledger]
        self._beyond = (len(states), len(timers))
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
                    break  # the one before it was refused, or is another consumer's by now: this one goes first
                _note(reply, commit.done)
                commit.waiting.pop(0)
        return commit.done

    async def _send(self, head: Sequence[Argument], portions: Sequence[Call]) -> Sequence[Reply | ServerError]:
        """Send portions in one go, and return the replies to those that the server knew the script for.

        Where it does not know it for the first, that one is sent again with the script; what comes behind it waits.
        """
        first = (*head, b"", *self._beyond, *portions[0].arguments)
        if len(portions) == 1:
            return [await call_script(self._client, "commit", self._keys, first)]
        _, sha = source_of("commit")
        calls = [("EVALSHA", sha, len(self._keys), *self._keys, *first)]
        for before, portion in pairwise(portions):
            behind = (before.last, *self._beyond, *portion.arguments)
            calls.append(("EVALSHA", sha, len(self._keys), *self._keys, *head, *behind))
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
