"""What the comprehensions of an expression may do for one record: how many steps, and how much text on the way.

A list of a record walked over by a record's list, and that again, is a cube of it. `Work` counts: each comprehension
pays for what it is about to walk over when it begins, not item by item, and what is asked of long values within a loop
is paid for by their length. Expressions without a comprehension have no such counter.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import GeneratorType
from typing import Any

from papyra_flow.errors import ExpressionError
from papyra_flow.expressions.bounds import NESTED, refuse_items, weigh

MAX_STEPS = 1_000_000
"""Steps that all loops of an expression take for one record: a tenth of a second."""
LOOP_TEXT = 64 * 1024**2
"""Characters of text that all loops of an expression make for one record."""
_CHARACTERS_A_STEP, _ITEMS_A_STEP = 256, 4
"""What is looked at as fast as a step is taken."""


class Work:
    """The steps and characters that are left for one record."""

    __slots__ = ("_characters", "_steps")

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._characters = LOOP_TEXT

    def _take(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise ExpressionError(f"the loops take more than {MAX_STEPS:,} steps for this record")

    def over(self, values: Any) -> Any:
        """What a loop walks over; a generator has paid already."""
        if type(values) is not GeneratorType:
            self._take(len(values))
        return values

    def read(self, value: Any) -> Any:
        """What is looked at from one end to the other within a loop."""
        kind = type(value)
        if kind is str:
            if len(value) >= _CHARACTERS_A_STEP:
                self._take(len(value) // _CHARACTERS_A_STEP)
        elif kind in NESTED:
            self._take(len(value))
        return value

    def scan(self, values: Any) -> Any:
        """What is searched for a value within a loop: an object or a set knows without looking through."""
        return values if isinstance(values, dict | set | frozenset) else self.read(values)

    def deep(self, value: Any) -> Any:
        """What is looked at with all that is in it."""
        if isinstance(value, NESTED):
            items, characters = weigh(value)
            self._take(items // _ITEMS_A_STEP + characters // _CHARACTERS_A_STEP)
            return value
        return self.read(value)

    def made(self, value: Any) -> Any:
        """What was made within a loop."""
        kind = type(value)
        if kind is str:
            self._make(len(value))
        elif kind is int:
            self._make(value.bit_length() // 8)
        elif kind in NESTED:
            self._take(len(value) // _ITEMS_A_STEP)
        return value

    def _make(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise ExpressionError(f"the loops make more than {LOOP_TEXT:,} characters for this record")

    def whole(self, values: Iterable[Any]) -> Any:
        """What a comprehension came to."""
        items, _ = weigh(values)
        refuse_items(items)
        self._take(items // _ITEMS_A_STEP)
        return values
