"""Counts of a step's own, by name: they end among the figures of its stage, beside what the run counts itself."""

from __future__ import annotations

import threading
from collections import Counter

from papyra_flow.errors import RecordError

MOST_NAMES = 100
"""Names that a stage may count under: each is a series in the metrics, and a number in every report."""
LONGEST_NAME = 100


class OwnCounts:
    """What the steps of one stage count in one process; safe to use from their threads."""

    def __init__(self, numbers: Counter[str] | None = None) -> None:
        self.numbers: Counter[str] = numbers if numbers is not None else Counter()
        self._lock = threading.Lock()

    def add(self, name: str, number: int) -> None:
        """Count; raises RecordError for a name or a number that cannot be a count's."""
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise RecordError(f"`count` takes a name of 1 to {LONGEST_NAME} characters, not {str(name)[:50]!r}")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise RecordError(f"`count` takes a whole number from 0 on, not {str(number)[:50]}")
        with self._lock:
            if name not in self.numbers and len(self.numbers) >= MOST_NAMES:
                raise RecordError(f"`count` was called with more than {MOST_NAMES} names in one stage")
            self.numbers[name] += number
