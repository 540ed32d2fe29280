"""`count_distinct`: how many different values there are, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from papyra_flow.errors import RecordError
from papyra_flow.records.values import Value
from papyra_flow.state.aggregates.base import Aggregate, moment_form
from papyra_flow.state.fields import canonical

MOST_DISTINCT = 100_000
"""Different values that are counted: they are one value of the state, written whole whenever it changes."""


class Distinct(Aggregate):
    """The number of different values; its state is an object with their canonical JSON as names. 1.0 is 1."""

    strict = True
    mutable = True

    def accept(self, value: object) -> str:
        """What tells it from others."""
        return canonical(moment_form(value)).decode()

    def new(self) -> Any:
        """None so far."""
        return {}

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """With these."""
        state.update(dict.fromkeys(values, 1))
        return state

    def merge(self, state: Any, other: Any) -> Any:
        """Those of both."""
        self.refuse(state, list(other))
        return {**state, **other}

    def result(self, state: Any) -> Value:
        """Their number."""
        return len(state)

    def refuse(self, state: Any, values: Sequence[Any]) -> None:
        """Raise RecordError for more values than it counts."""
        if len(state) + len(values) > MOST_DISTINCT and len(state.keys() | values) > MOST_DISTINCT:
            raise RecordError(f"`{self.name}` counts up to {MOST_DISTINCT:,} different values: "
                              "use `approx_count_distinct`")  # fmt: skip

    def copy(self, state: Any) -> Any:
        """An object of its own."""
        return dict(state)
