"""`count` of records and of values, `any` and `all`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from papyra_flow.records.values import Value
from papyra_flow.state.aggregates.base import Aggregate


class Count(Aggregate):
    """How many values there are that are not null; without an argument, how many records."""

    def accept(self, value: object) -> Any:
        """Whatever it is."""
        return True

    def accept_all(self, values: Sequence[object]) -> Sequence[Any]:
        """Whatever they are."""
        return values

    def new(self) -> Any:
        """None so far."""
        return 0

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """That many more."""
        return state + len(values)

    def merge(self, state: Any, other: Any) -> Any:
        """Both."""
        return state + other

    def result(self, state: Any) -> Value:
        """The count."""
        return state  # type: ignore[no-any-return]


class Either(Aggregate):
    """Whether a value is true."""

    def accept(self, value: object) -> bool:
        """Whether it counts as true."""
        return bool(value)

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """True as soon as one is."""
        return bool(state) or any(values)

    def merge(self, state: Any, other: Any) -> Any:
        """Whether it is so in one of them."""
        return other if state is None else state if other is None else state or other

    def result(self, state: Any) -> Value:
        """Null of no values."""
        return state  # type: ignore[no-any-return]


class Every(Either):
    """Whether all values are true."""

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """False as soon as one is."""
        return state is not False and all(values)

    def merge(self, state: Any, other: Any) -> Any:
        """Whether it is so in both of them."""
        return other if state is None else state if other is None else state and other
