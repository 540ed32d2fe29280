"""`sum`, `mean`, and how far values are spread around it: `variance` and `stddev`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from papyra_flow.records.values import Value
from papyra_flow.state.aggregates.base import OfNumbers
from papyra_flow.state.aggregates.exact import (
    add_numbers,
    as_pairs,
    join_floats,
    quotient,
    square_root,
    total,
)


class Sum(OfNumbers):
    """The sum; its state is that of the integers and that of the floats."""

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The sums with these."""
        whole, floats = state or (0, [])
        return list(add_numbers(whole, floats, values))

    def merge(self, state: Any, other: Any) -> Any:
        """The sum of both."""
        if state is None or other is None:
            return state or other
        return [state[0] + other[0], join_floats(state[1], other[1])]

    def result(self, state: Any) -> Value:
        """The sum, rounded once."""
        return None if state is None else total(*state)


class Mean(OfNumbers):
    """The mean; its state is that of a sum, behind a count."""

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """Count and sums with these."""
        count, whole, floats = state or (0, 0, [])
        return [count + len(values), *add_numbers(whole, floats, values)]

    def merge(self, state: Any, other: Any) -> Any:
        """The count and the sum of both."""
        if state is None or other is None:
            return state or other
        return [state[0] + other[0], state[1] + other[1], join_floats(state[2], other[2])]

    def result(self, state: Any) -> Value:
        """The sum divided by the count."""
        if state is None:
            return None
        count, whole, floats = state
        summed = total(whole, floats)
        return summed / count if isinstance(summed, float) else quotient(summed, count)


class Variance(OfNumbers):
    """The variance of a sample; its state is a count, the sum, the sum of squares, and a power of two.

    Sums are integers: the values' when they are multiplied by that power, so that nothing is ever rounded.
    """

    largest = 2**1024

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """All with these."""
        pairs = as_pairs(values)
        power = max(power for _, power in pairs)
        whole = [over << (power - under) for over, under in pairs]
        return self.merge(state, [len(whole), sum(whole), sum(one * one for one in whole), power])

    def merge(self, state: Any, other: Any) -> Any:
        """All of both, by the larger of their powers."""
        if state is None or other is None:
            return state or other
        power = max(state[3], other[3])
        (count, summed, squares), (more, added, squared) = (self._raised(one, power) for one in (state, other))
        return [count + more, summed + added, squares + squared, power]

    def result(self, state: Any) -> Value:
        """Null of fewer than two values, as SQL has it."""
        return None if state is None or state[0] < 2 else quotient(*self._fraction(state))

    @staticmethod
    def _raised(state: Any, power: int) -> tuple[int, int, int]:
        count, summed, squares, before = state
        return count, summed << (power - before), squares << 2 * (power - before)

    @staticmethod
    def _fraction(state: Any) -> tuple[int, int]:
        count, summed, squares, power = state
        return count * squares - summed * summed, count * (count - 1) << 2 * power


class Deviation(Variance):
    """The standard deviation of a sample."""

    def result(self, state: Any) -> Value:
        """The root of the variance."""
        return None if state is None or state[0] < 2 else square_root(*self._fraction(state))
