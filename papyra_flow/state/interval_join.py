"""Records of two sides that have a key in common and lie close enough in event time, each pair once.

A field holds the records of one side with one key: lists of time, whether it has met another, and text, in order of
time and then of arrival. A record waits until nothing can come any more that it would meet: what is not late lies at
most `grace` behind the watermark, and at most `within` from it. A timer for each time then takes it out, and lets what
has met no other leave alone, where its side is to leave alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from papyra_flow.state.fields import with_part, without_last
from papyra_flow.state.store import Store, Timer

_Entry: TypeAlias = list[Any]
"""Time, whether it has met another (0 or 1), text."""
_TIME = itemgetter(0)
_ENDS = (b",0]", b",1]")


class Waiting(NamedTuple):
    """A record that waits, or waited, on one of the sides, 0 or 1."""

    side: int
    time: int
    text: str


class IntervalJoin:
    """What waits on both sides; all times are in milliseconds."""

    def __init__(self, within: int, grace: int, alone: tuple[bool, bool]) -> None:
        """`alone` says for each side whether a record that meets no other leaves without one."""
        self._within = within
        self._kept = within + grace + 1
        self._alone = alone

    @property
    def delay(self) -> int:
        """How far behind the watermark lies what leaves by a timer."""
        return self._kept if any(self._alone) else 0

    @staticmethod
    def fields_of_key(key: bytes) -> tuple[bytes, bytes]:
        """The fields of both sides."""
        return key[:-1] + _ENDS[0], key[:-1] + _ENDS[1]

    def meet(self, store: Store, key: bytes, came: Waiting) -> list[Waiting]:
        """Have a record wait; those that it meets, in order of time."""
        fields = self.fields_of_key(key)
        own, other = fields[came.side], fields[1 - came.side]
        others: list[_Entry] = store.get(other) or []
        first = bisect_left(others, came.time - self._within, key=_TIME)
        last = bisect_right(others, came.time + self._within, first, key=_TIME)
        met = [Waiting(1 - came.side, entry[0], entry[2]) for entry in others[first:last]]
        if met and self._alone[1 - came.side]:
            _mark(store, other, first, last)
        entry = [came.time, int(bool(met)), came.text]
        if store.get(own) is None:
            store.put(own, [entry])
        else:
            waiting: list[_Entry] = store.own(own, list.copy) or []
            insort_right(waiting, entry, key=_TIME)
        store.set_timer(came.time + self._kept, with_part(own, came.time))
        return met

    @staticmethod
    def fields_of(timers: Sequence[Timer]) -> list[bytes]:
        """The fields that timers are about."""
        return [without_last(timer.member)[0] for timer in timers]

    def expire(self, store: Store, timer: Timer) -> list[Waiting]:
        """Take out what a timer is about; what of it leaves alone."""
        field, time = without_last(timer.member)
        side = _ENDS.index(field[-3:])
        if store.get(field) is None:
            return []
        waiting: list[_Entry] = store.own(field, list.copy) or []
        first = bisect_left(waiting, time, key=_TIME)
        last = bisect_right(waiting, time, first, key=_TIME)
        gone = waiting[first:last]
        del waiting[first:last]
        if not waiting:
            store.delete(field)
        return [Waiting(side, entry[0], entry[2]) for entry in gone if self._alone[side] and not entry[1]]


def _mark(store: Store, field: bytes, first: int, last: int) -> None:
    """Say of the entries at some places that they have met another."""
    if all(entry[1] for entry in store.get(field)[first:last]):  # type: ignore[index]
        return
    entries: list[_Entry] = store.own(field, list.copy) or []
    for place in range(first, last):
        time, met, text = entries[place]
        if not met:
            entries[place] = [time, 1, text]  # another one: what there was may have to come back
