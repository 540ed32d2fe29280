"""What was seen of a key: whether a record is the first of it, or the first within a time.

Within a time, a field holds the times of the records that were first, in order; each has a timer that forgets it. It is
kept until no record can come any more that it would make a duplicate: one that is not late lies at most `grace` behind
the watermark, and at most `within` from it. So what a record meets does not depend on when timers go off.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from papyra_flow.state.fields import with_part, without_last
from papyra_flow.state.store import Store, Timer


def is_first_ever(store: Store, field: bytes) -> bool:
    """Whether no record of the key came before."""
    if store.get(field) is not None:
        return False
    store.put(field, 1)
    return True


class RecentFirsts:
    """The first records of each key, each remembered for a time; all times are in milliseconds."""

    def __init__(self, within: int, grace: int) -> None:
        self._within = within
        self._kept = within + grace + 1

    def is_first(self, store: Store, field: bytes, time: int) -> bool:
        """Whether no first record of the key lies within that time of this one, be it before or after."""
        firsts: list[int] | None = store.get(field)
        if firsts is None:
            store.put(field, [time])
        else:
            place = bisect_left(firsts, time - self._within)
            if place < len(firsts) and firsts[place] - time <= self._within:
                return False
            own: list[int] = store.own(field, list.copy) or []
            insort(own, time)
        store.set_timer(time + self._kept, with_part(field, time))
        return True

    @staticmethod
    def fields_of(timers: Sequence[Timer]) -> list[bytes]:
        """The fields that timers are about."""
        return [without_last(timer.member)[0] for timer in timers]

    @staticmethod
    def forget(store: Store, timers: Sequence[Timer]) -> None:
        """Forget what timers are about, and the key with the last of it."""
        for timer in timers:
            field, time = without_last(timer.member)
            if time not in (store.get(field) or ()):
                continue
            firsts: list[int] = store.own(field, list.copy) or []
            firsts.remove(time)
            if not firsts:
                store.delete(field)
