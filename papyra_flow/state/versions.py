"""A key's newest record, and those before it that are still asked for.

A field holds versions in the order of their event times: time, and the record's text, or null where the key was
deleted. What there is as of a watermark follows from the versions and the watermark alone, so that it is the same
however late a timer goes off. A deletion is kept for `grace`, so that an older record that comes behind it changes
nothing; what was superseded, deleted or ran out is kept for `history`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from papyra_flow.state.store import Store

Version: TypeAlias = list[Any]
"""Time, text or None, and a third item where its `ttl` has passed."""
Versions: TypeAlias = Sequence[Version]
_TIME = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long versions are kept; all times are in milliseconds."""

    ttl: int | None = None
    history: int | None = None
    grace: int | None = None
    """None where keys are never deleted."""

    def with_version(self, versions: Versions, time: int, text: str | None) -> Versions:
        """The versions with one more; of several of the same time the last one counts."""
        if self.history is None:
            return versions if versions and time < versions[-1][0] else [[time, text]]
        place = bisect_right(versions, time, key=_TIME)
        same = place > 0 and versions[place - 1][0] == time
        return [*versions[: place - same], [time, text], *versions[place:]]

    def as_of(self, versions: Versions, watermark: int) -> Versions:
        """What of the versions there still is."""
        while (until := self.until(versions)) is not None and until < watermark:
            versions = [*versions[:-1], [*versions[-1], 1]] if until == self._runs_out(versions[-1]) else versions[1:]
        return versions

    def until(self, versions: Versions) -> int | None:
        """The last watermark at which all of the versions are there as they are; None if there is none."""
        if not versions or not self._ends:
            return None
        last, history = versions[-1], self.history or 0
        ends = [self._runs_out(last)]
        if len(versions) > 1:
            ends.append(versions[1][0] + history)
        elif last[1] is None:
            ends.append(last[0] + (self.grace or 0))
        elif self.ttl is not None:
            ends.append(last[0] + self.ttl + history)
        return min((end for end in ends if end is not None), default=None)

    @property
    def _ends(self) -> bool:
        """Whether anything is ever forgotten."""
        return not (self.ttl is None and self.history is None and self.grace is None)

    def _runs_out(self, last: Version) -> int | None:
        """When the newest version has to be marked as one that has run out, where it is kept after that."""
        if self.ttl is None or not self.history or last[1] is None or len(last) > 2:
            return None
        end: int = last[0] + self.ttl
        return end


class Table:
    """The versions of all keys, in a store."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping

    def put(self, store: Store, field: bytes, time: int, text: str | None, watermark: int) -> bool:
        """Take up a record, or a deletion; False if it is too late to tell what it means for its key."""
        before: Versions = store.get(field) or ()
        versions = self._keeping.as_of(before, watermark)
        grace = self._keeping.grace
        if not versions and grace is not None and time + grace < watermark:
            return False
        after = self._keeping.as_of(self._keeping.with_version(versions, time, text), watermark)
        self._replace(store, field, before, after)
        return True

    def expire(self, store: Store, field: bytes, watermark: int) -> None:
        """Forget what there is no more."""
        if (before := store.get(field)) is not None:
            self._replace(store, field, (), self._keeping.as_of(before, watermark))

    def _replace(self, store: Store, field: bytes, before: Versions, after: Versions) -> None:
        if after is before:
            return
        if after:
            store.put(field, after)
        else:
            store.delete(field)
        until, was = self._keeping.until(after), self._keeping.until(before)
        if until is not None and until != was:
            store.set_timer(until + 1, field)
        elif until is None and was is not None:
            store.delete_timer(field)


def newest(versions: Versions) -> str | None:
    """The text of the record that holds now, if one does."""
    last = versions[-1]
    return last[1] if len(last) == 2 else None


def held_at(versions: Versions, time: int, ttl: int | None) -> str | None:
    """The text of the record that held at a time, if one did."""
    place = bisect_right(versions, time, key=_TIME)
    if place == 0 or (ttl is not None and time > versions[place - 1][0] + ttl):
        return None
    text: str | None = versions[place - 1][1]
    return text
