"""What step functions count themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from papyra_flow.errors import RecordError
from papyra_flow.spec.counting import LONGEST_NAME, MOST_NAMES, OwnCounts


def test_threads_lose_no_count() -> None:
    counts = OwnCounts()

    def count() -> None:
        for _ in range(5_000):
            counts.add("n", 1)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(count)
    assert counts.numbers == {"n": 20_000}


@pytest.mark.parametrize(
    ("name", "number"), [("", 1), ("n" * (LONGEST_NAME + 1), 1), (1, 1), ("n", -1), ("n", 1.5), ("n", True)]
)
def test_what_cannot_be_a_count_is_refused(name: str, number: int) -> None:
    with pytest.raises(RecordError, match="`count` takes"):
        OwnCounts().add(name, number)


def test_names_are_bounded() -> None:
    counts = OwnCounts()
    for number in range(MOST_NAMES):
        counts.add(f"n{number}", 1)
    with pytest.raises(RecordError, match="more than 100 names"):
        counts.add("one more", 1)
    counts.add("n0", 1)
    assert len(counts.numbers) == MOST_NAMES
