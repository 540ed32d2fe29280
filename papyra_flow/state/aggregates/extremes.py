"""`min` and `max`, and `top`: the largest few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from papyra_flow.records.values import Value
from papyra_flow.state.aggregates.base import OfComparables


class Extreme(OfComparables):
    """The smallest value, or the largest."""

    def __init__(self, name: str, *, largest: bool) -> None:
        super().__init__(name)
        self._best = max if largest else min

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The best of all; of equal ones the first."""
        return self._best(values) if state is None else self._best(state, *values)

    def merge(self, state: Any, other: Any) -> Any:
        """The better one."""
        if state is None or other is None:
            return other if state is None else state
        self.refuse(state, [other])
        return self._best(state, other)

    def result(self, state: Any) -> Value:
        """Null of no values."""
        return state  # type: ignore[no-any-return]


class Top(OfComparables):
    """The largest values, the largest one first."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name)
        self._size = size

    def new(self) -> Any:
        """None so far."""
        return []

    def sample(self, state: Any) -> Any:
        """The largest."""
        return state[0] if state else None

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """Those that are still among them."""
        return sorted([*state, *values], reverse=True)[: self._size]

    def merge(self, state: Any, other: Any) -> Any:
        """The largest of both."""
        if state and other:
            self.refuse(state, other)
        return self.add(state, other, ())

    def result(self, state: Any) -> Value:
        """A list, which may be empty."""
        return list(state)
