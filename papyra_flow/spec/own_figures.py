"""What steps count and measure themselves, by name: it ends among the figures of their stage, beside the run's own."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from papyra_flow.errors import RecordError
from papyra_flow.histograms import SECONDS, VALUES, Histogram

Distribution: TypeAlias = Literal["durations", "values"]

MOST_NAMES = 100
"""Names that a stage may use of each kind: each is a series in the metrics, and takes room in every report."""
LONGEST_NAME = 100


class OwnFigures:
    """What the steps of one stage count and measure in one process; safe to use from their threads."""

    def __init__(
        self,
        counts: Counter[str] | None = None,
        durations: dict[str, Histogram] | None = None,
        values: dict[str, Histogram] | None = None,
        record: Callable[[Distribution, str, float], None] | None = None,
    ) -> None:
        """`record` also gets every measurement, with its kind and name."""
        self.counts: Counter[str] = counts if counts is not None else Counter()
        self.durations = durations if durations is not None else {}
        self.values = values if values is not None else {}
        self._record = record
        self._lock = threading.Lock()

    def count(self, name: str, number: int) -> None:
        """Count; raises RecordError for a name or a number that cannot be a count's."""
        _check_name("count", name)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise RecordError(f"`count` takes a whole number, 0 or more, not {str(number)[:50]}")
        with self._lock:
            _check_room("count", name, self.counts)
            self.counts[name] += number

    def observe(self, name: str, value: float) -> None:
        """Measure a value; raises RecordError for a name or a value that cannot be counted in buckets."""
        _check_name("observe", name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise RecordError(f"`observe` takes a number, 0 or more, not {str(value)[:50]}")
        self._measured("values", name, self._histogram("observe", self.values, name, VALUES), float(value))

    @contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Measure how long a block takes, also one that raises; raises RecordError for a name that cannot be one."""
        _check_name("timer", name)
        histogram = self._histogram("timer", self.durations, name, SECONDS)
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._measured("durations", name, histogram, time.perf_counter() - begun)

    def _histogram(self, method: str, known: dict[str, Histogram], name: str, bounds: tuple[float, ...]) -> Histogram:
        with self._lock:
            _check_room(method, name, known)
            return known.setdefault(name, Histogram(bounds))

    def _measured(self, kind: Distribution, name: str, histogram: Histogram, value: float) -> None:
        with self._lock:
            histogram.observe(value)
        if self._record is not None:
            self._record(kind, name, value)


def _check_name(method: str, name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise RecordError(f"`{method}` takes a name of 1 to {LONGEST_NAME} characters, not {str(name)[:50]!r}")


def _check_room(method: str, name: str, known: Counter[str] | dict[str, Histogram]) -> None:
    if name not in known and len(known) >= MOST_NAMES:
        raise RecordError(f"`{method}` was called with more than {MOST_NAMES} names in one stage")
