"""`approx_count_distinct` and `quantile`: small states that say nearly what all values would say.

Distinct values are counted by HyperLogLog (Apache DataSketches, https://datasketches.apache.org/docs/HLL/HLL.html), and
quantiles by the buckets of DDSketch (http://www.vldb.org/pvldb/vol12/p2195-masson.pdf). Neither depends on the order in
which values came, nor on how states were merged; quantile sketches that throw away by chance (KLL, REQ) do.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Sequence
from typing import Any

from papyra_flow.records.values import Value
from papyra_flow.state.aggregates.base import Aggregate, OfNumbers, moment_form
from papyra_flow.state.fields import canonical

EXTRA = "papyra-flow[sketches]"
BITS = 12
"""4,096 registers: a standard error of 1.6 %, in 2 KiB at most."""
ACCURACY = 0.01
"""A quantile is at most this part of itself away from the value that it stands for."""


def _needed(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise ValueError(f"`{name}` needs the package {module}: pip install '{EXTRA}'") from exc


class ApproximateDistinct(Aggregate):
    """About how many different values there are; its state is a sketch, in base64. 1.0 is 1."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._library = _needed(name, "datasketches")

    def accept(self, value: object) -> str:
        """What tells it from others."""
        return canonical(moment_form(value)).decode()

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The sketch with these."""
        sketch = self._read(state) if state is not None else self._library.hll_sketch(BITS, self._library.HLL_4)
        for value in values:
            sketch.update(value)
        return self._written(sketch)

    def merge(self, state: Any, other: Any) -> Any:
        """The union."""
        if state is None or other is None:
            return state or other
        return self._written(self._union(state, other).get_result(self._library.HLL_4))

    def result(self, state: Any) -> Value:
        """The nearest integer. A union with itself, because the estimate of one sketch depends on its order."""
        return 0 if state is None else round(self._union(state, state).get_estimate())

    def _union(self, *states: str) -> Any:
        union = self._library.hll_union(BITS)
        for state in states:
            union.update(self._read(state))
        return union

    def _read(self, state: str) -> Any:
        return self._library.hll_sketch.deserialize(base64.b64decode(state))

    @staticmethod
    def _written(sketch: Any) -> str:
        return base64.b64encode(sketch.serialize_compact()).decode()


class Quantile(OfNumbers):
    """A quantile; its state is the smallest value, the largest, the count of zeros, and those of the buckets."""

    mutable = True
    largest = 2**1024 - 2**970
    """The first integer that no float is near to."""

    def __init__(self, name: str, part: float) -> None:
        super().__init__(name)
        self._part = part
        self._mapping = _needed(name, "ddsketch").LogarithmicMapping(ACCURACY)
        self._most = self._mapping.max_possible / self._mapping.gamma
        """The largest float whose bucket's value is a float, too."""

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """With these in their buckets."""
        least, most = min(values), max(values)
        if state is None:
            state = [least, most, 0, {}, {}]
        state[0], state[1] = min(state[0], least), max(state[1], most)
        for value in map(float, values):
            if abs(value) <= self._mapping.min_possible:
                state[2] += 1
                continue
            buckets = state[3 if value > 0 else 4]
            key = str(self._mapping.key(min(abs(value), self._most)))
            buckets[key] = buckets.get(key, 0) + 1
        return state

    def merge(self, state: Any, other: Any) -> Any:
        """The counts of both."""
        if state is None or other is None:
            return self.copy(state or other)
        merged = self.copy(state)
        merged[0], merged[1] = min(state[0], other[0]), max(state[1], other[1])
        merged[2] += other[2]
        for place in (3, 4):
            for key, count in other[place].items():
                merged[place][key] = merged[place].get(key, 0) + count
        return merged

    def result(self, state: Any) -> Value:
        """The value of the bucket that the quantile is in, between the smallest value and the largest."""
        if state is None:
            return None
        least, most, zeros, above, below = state
        counts = [(-self._mapping.value(key), below[str(key)]) for key in sorted(map(int, below), reverse=True)]
        counts.append((0.0, zeros))
        counts += [(self._mapping.value(key), above[str(key)]) for key in sorted(map(int, above))]
        rank = self._part * (sum(count for _, count in counts) - 1)
        for value, count in counts:
            rank -= count
            if rank < 0:
                return float(min(max(value, least), most))
        return float(most)

    def copy(self, state: Any) -> Any:
        """Objects of its own."""
        return None if state is None else [*state[:3], dict(state[3]), dict(state[4])]
