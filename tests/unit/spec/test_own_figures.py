"""What step functions count and measure themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from papyra_flow.errors import RecordError
from papyra_flow.spec.own_figures import LONGEST_NAME, MOST_NAMES, OwnFigures


def test_threads_lose_no_count() -> None:
    own = OwnFigures()

    def count() -> None:
        for _ in range(5_000):
            own.count("n", 1)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(count)
    assert own.counts == {"n": 20_000}


@pytest.mark.parametrize(
    ("name", "number"), [("", 1), ("n" * (LONGEST_NAME + 1), 1), (1, 1), ("n", -1), ("n", 1.5), ("n", True)]
)
def test_what_cannot_be_a_count_is_refused(name: str, number: int) -> None:
    with pytest.raises(RecordError, match="`count` takes"):
        OwnFigures().count(name, number)


def test_names_are_bounded() -> None:
    own = OwnFigures()
    for number in range(MOST_NAMES):
        own.count(f"n{number}", 1)
    with pytest.raises(RecordError, match="more than 100 names"):
        own.count("one more", 1)
    own.count("n0", 1)
    assert len(own.counts) == MOST_NAMES


@pytest.mark.parametrize(
    ("name", "value"),
    [("", 1.0), (1, 1.0), ("n", -0.1), ("n", float("nan")), ("n", float("inf")), ("n", "1"), ("n", True)],
)
def test_what_cannot_be_counted_in_buckets_is_refused(name: str, value: float) -> None:
    own = OwnFigures()
    with pytest.raises(RecordError, match="`observe` takes"):
        own.observe(name, value)
    assert own.values == {}


def test_threads_lose_no_measurement() -> None:
    own = OwnFigures()

    def measure(value: int) -> None:
        for _ in range(5_000):
            own.observe("n", value)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(measure, [1, 2, 3, 4]))
    assert (own.values["n"].count, own.values["n"].sum) == (20_000, 50_000)


def test_a_block_that_raises_is_timed_too() -> None:
    told: list[tuple[str, str]] = []
    own = OwnFigures(record=lambda kind, name, seconds: told.append((kind, name)))
    with pytest.raises(ZeroDivisionError), own.timer("call"):
        1 / 0  # noqa: B018 - it is to raise
    assert own.durations["call"].count == 1
    assert told == [("durations", "call")]


def test_a_name_too_many_is_refused_before_the_block_runs() -> None:
    own, ran = OwnFigures(), []
    for number in range(MOST_NAMES):
        with own.timer(f"n{number}"):
            pass
    with pytest.raises(RecordError, match="`timer` was called with more than 100 names"), own.timer("one more"):
        ran.append(1)
    assert ran == []
