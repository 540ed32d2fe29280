"""An idle time that stays at zero is of a dead consumer; one that moves at all is left to the usual rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.runtime.consumer.clock_skew import LOOKS, Unaging
from papyra_flow.streams.groups.claims import Pending

CLAIM = 10.0


def pending(idle: float, id_: bytes = b"1-0", name: str = "c") -> dict[str, Pending]:
    return {name: Pending(id_, name, idle, 1)}


def test_an_idle_time_that_stands_still_for_the_claim_time_is_of_the_dead() -> None:
    unaging = Unaging(CLAIM)
    looks = [unaging.look(pending(0.0), now) for now in (0.0, 5.0, 9.9, 10.0)]
    assert looks == [[], [], [], ["c"]]


def test_many_looks_in_a_short_time_prove_nothing() -> None:
    unaging = Unaging(CLAIM)
    assert [unaging.look(pending(0.0), now / 100) for now in range(100)] == [[]] * 100


def test_two_looks_prove_nothing() -> None:
    unaging = Unaging(CLAIM)
    assert [unaging.look(pending(0.0), now) for now in (0.0, 100.0)] == [[], []]


@given(st.lists(st.sampled_from(["still", "moved", "another", "nothing"]), max_size=30))
def test_whatever_moves_begins_again(steps: list[str]) -> None:
    unaging, since, number = Unaging(CLAIM), 0, 0
    for place, step in enumerate(steps):
        number += step == "another"
        seen = {} if step == "nothing" else pending(0.5 if step == "moved" else 0.0, b"%d-0" % number)
        found = unaging.look(seen, place * CLAIM)
        since = {"still": since + 1, "another": 1}.get(step, 0)
        assert found == (["c"] if since >= LOOKS else [])
