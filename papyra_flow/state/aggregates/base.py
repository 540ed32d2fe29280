"""What every aggregate function offers: a state that is JSON, and how values go into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.records.values import Value, json_form, utc

NUMBERS = frozenset({int, float})
_NOTHING = type(None)


class Aggregate:
    """An aggregate function. Its state is JSON; null, where nothing has come yet.

    Values are what `accept` returned, without nulls. Unless a function says `mutable`, its states are never changed in
    place.
    """

    timed: ClassVar[bool] = False
    """Whether it asks when values happened."""
    strict: ClassVar[bool] = False
    """Whether it may refuse a value because of those before it (`refuse`, `merge`)."""
    mutable: ClassVar[bool] = False
    """Whether `add` changes a state in place."""
    plain: ClassVar[frozenset[type]] = frozenset()
    """Types whose values `accept` returns as they are, if they are finite and not larger than floats are."""

    def __init__(self, name: str) -> None:
        self.name = name

    def accept(self, value: object) -> Any:
        """A value in the form that goes into the state; raises RecordError."""
        return json_form(value)

    def accept_all(self, values: Sequence[object]) -> Sequence[Any]:
        """The same for a batch, nulls included; raises RecordError if there is one that is not accepted."""
        kinds = set(map(type, values))
        kinds.discard(_NOTHING)
        if kinds <= self.plain and (kinds.isdisjoint(NUMBERS) or _are_ordinary(values)):
            return values
        return [None if value is None else self.accept(value) for value in values]

    def new(self) -> Any:
        """The state of no values."""
        return None

    def add(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """The state with values that came in this order; `times` are theirs if it is `timed`. They are not none."""
        raise NotImplementedError

    def merge(self, state: Any, other: Any) -> Any:
        """A new state of all that is in two of them; `other` came later. Raises RecordError."""
        raise NotImplementedError

    def result(self, state: Any) -> Value:
        """What it says of a state; nothing that is changed there changes the state."""
        raise NotImplementedError

    def refuse(self, state: Any, values: Sequence[Any]) -> None:
        """Raise RecordError if values do not fit what is there."""

    def copy(self, state: Any) -> Any:
        """A state that may be changed in place."""
        return state


def _are_ordinary(values: Sequence[object]) -> bool:
    """Whether all numbers are finite, and no integer is larger than floats are."""
    try:
        numbers: list[Any] = [value for value in values if value.__class__ in NUMBERS]
        return all(map(math.isfinite, numbers))
    except OverflowError:
        return False


class OfNumbers(Aggregate):
    """One that takes numbers."""

    plain = NUMBERS
    largest: ClassVar[int] = 10**4000
    """Integers as large as this are refused, so that a sum of them can be written, however many they are."""

    def accept(self, value: object) -> int | float:
        """A number; raises RecordError for all else."""
        form = json_form(value)
        if isinstance(form, bool) or not isinstance(form, int | float):
            raise RecordError(f"`{self.name}` takes numbers, not {shown(value)}")
        if isinstance(form, int) and abs(form) >= self.largest:
            digits = len(str(self.largest)) - 1
            raise RecordError(f"`{self.name}` takes numbers, and no integer of more than {digits:,} digits")
        return form


KINDS = {int: "a number", float: "a number", str: "text", bool: "a boolean"}


class OfComparables(Aggregate):
    """One that takes numbers, texts or booleans, but of one kind only; dates and times are text in UTC."""

    plain = frozenset({int, float, str, bool})
    strict = True

    def accept(self, value: object) -> int | float | str | bool:
        """A value that has an order; raises RecordError for all else."""
        form = moment_form(value)
        if not isinstance(form, int | float | str):
            raise RecordError(f"`{self.name}` takes numbers, text, booleans or times, not {shown(value)}")
        return form

    def sample(self, state: Any) -> Any:
        """A value that is in a state; None if there is none."""
        return state

    def refuse(self, state: Any, values: Sequence[Any]) -> None:
        """Raise RecordError for values of two kinds."""
        before = self.sample(state)
        kinds = {KINDS[kind] for kind in set(map(type, values))}
        if before is not None:
            kinds.add(KINDS[type(before)])
        if len(kinds) == 1:
            return
        first = before if before is not None else values[0]
        other = next(value for value in values if KINDS[type(value)] != KINDS[type(first)])
        raise RecordError(f"`{self.name}`: {shown(other)} is {KINDS[type(other)]}, "
                          f"and what came before it is {KINDS[type(first)]}")  # fmt: skip


def moment_form(value: object) -> Value:
    """A value in JSON's types, where equal moments are equal texts."""
    if not isinstance(value, datetime):
        return json_form(value)
    try:
        return json_form(utc(value).astimezone(UTC))
    except OverflowError:
        raise RecordError(f"{shown(value)} is outside the years 1 to 9999") from None


def apart(value: Any) -> Any:
    """A value whose lists and objects are not those of the state."""
    if isinstance(value, list):
        return [apart(item) for item in value]
    if isinstance(value, dict):
        return {name: apart(item) for name, item in value.items()}
    return value
