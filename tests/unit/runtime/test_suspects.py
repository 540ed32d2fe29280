"""Suspects: what was delivered often is tried in ever smaller batches, down to alone (I5)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.runtime.suspects import MAX_DELIVERIES, Suspects, is_killer
from papyra_flow.streams.entries import Entry


def ids(numbers: range, deliveries: int) -> list[tuple[bytes, int]]:
    return [(b"%d-0" % n, deliveries) for n in numbers]


def test_batches_shrink_with_the_deliveries() -> None:
    sizes = []
    for deliveries in (1, 2, 3, 9):
        suspects = Suspects(500)
        suspects.add(ids(range(500), deliveries))
        sizes.append(len(suspects.next_batch()))
    assert sizes == [125, 15, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 6)), max_size=60), st.integers(1, 40))
def test_every_entry_gets_its_turn_once_and_never_beside_too_many(found: list[tuple[int, int]], size: int) -> None:
    suspects = Suspects(size)
    known = dict(reversed(found))
    added = suspects.add([(b"%d-0" % n, deliveries) for n, deliveries in known.items()])
    assert suspects.add([(b"%d-0" % n, 1) for n in known]) == 0
    seen: list[bytes] = []
    while batch := suspects.next_batch():
        assert len(batch) <= size
        if any(known[int(id_.split(b"-")[0])] >= 3 for id_ in batch):
            assert len(batch) == 1
        seen += batch
    assert sorted(seen) == sorted(b"%d-0" % n for n in known)
    assert (added, len(suspects)) == (len(known), 0)


def test_a_killer_is_one_that_was_delivered_more_often_than_any_policy_allows() -> None:
    assert not is_killer(Entry("k", b"1-0", [], MAX_DELIVERIES), 3)
    assert is_killer(Entry("k", b"1-0", [], MAX_DELIVERIES + 1), 3)
    assert not is_killer(Entry("k", b"1-0", [], MAX_DELIVERIES + 1), 10)


def test_entries_taken_over_from_several_consumers_come_in_the_streams_order() -> None:
    suspects = Suspects(400)
    suspects.add(ids(range(8, 12), 1))
    suspects.add(ids(range(1, 8), 1))
    assert suspects.next_batch() == [b"%d-0" % n for n in range(1, 12)]
