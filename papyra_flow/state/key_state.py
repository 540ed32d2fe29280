"""`State`: what a step function remembers of a key.

A call works on a draft, which counts when the call has returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any

from papyra_flow.errors import RecordError
from papyra_flow.records.values import Value, json_form
from papyra_flow.state.event_time import EPOCH, event_time
from papyra_flow.state.fields import parts_of

_PLAIN = frozenset({bool, float, int, str, type(None)})
"""Types of values that cannot be changed in place."""
_SMALL = 2**63


class Draft:
    """A key's values and timers, as one call has them; what is in the store is not changed by it."""

    __slots__ = ("_open", "changed", "cleared", "field", "sealed", "time", "timers", "values", "waits")

    def __init__(
        self, field: bytes, before: Mapping[str, Value] | None, time: int, *, waits: bool, sealed: bool = False
    ) -> None:
        """`waits` says whether there may be timers, `sealed` that values are in a model; `time` is the event time."""
        self.field = field
        self.time = time
        self.waits = waits
        self.sealed = sealed
        self.values: dict[str, Value] = dict(before or ())
        self.timers: dict[str, int | None] = {}
        """When timers go off by their names; None for those that were called off."""
        self.changed = self.cleared = False
        self._open: set[str] = set()
        """Names of values that were put, or may have been changed in place."""

    def read(self, name: str) -> Value:
        """A value, which may be changed in place."""
        value = self.values[name]
        if value.__class__ in _PLAIN or name in self._open:
            return value
        self._open.add(name)
        self.changed = True
        self.values[name] = found = _form(name, value)
        return found

    def write(self, name: str, value: object) -> None:
        """Put a value; what it is in JSON is asked when the call has returned."""
        self._refuse_sealed()
        self.values[name] = value  # type: ignore[assignment]
        self._open.add(name)
        self.changed = True

    def remove(self, name: str) -> None:
        """Take a value out; raises KeyError if there is none."""
        self._refuse_sealed()
        del self.values[name]
        self.changed = True

    def clear(self) -> None:
        """Take all values out, whatever a model has."""
        self.replace({})
        self.cleared = True

    def replace(self, values: Mapping[str, object]) -> None:
        """Put these values in place of all that there are."""
        self.values = dict(values)  # type: ignore[arg-type]
        self._open = set(values)
        self.changed = True

    def settle(self) -> dict[str, Value]:
        """The values as they are to be kept; raises RecordError where one has become what JSON does not have.

        They are nobody else's: a function may hold on to what it was given.
        """
        return self.values | {name: _form(name, self.values[name]) for name in self._open & self.values.keys()}

    def _refuse_sealed(self) -> None:
        if self.sealed:
            raise RecordError("state: its values are the model's: change them there")


class State(MutableMapping[str, Any]):
    """What a step function remembers of a key: a dict of JSON's values, by name. Since 0.2.

    A function of a `run` with a `key` gets it in a parameter that is annotated with `State`, or called `state`. What
    it changes holds once it has returned, together with its records; if it raises, nothing has changed. Values come
    back as JSON has them: a time that was put is text for the next record. A key whose state is empty is forgotten.
    """

    __slots__ = ("_draft",)

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def __getitem__(self, name: str) -> Any:
        return self._draft.read(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._draft.write(name, value)

    def __delitem__(self, name: str) -> None:
        self._draft.remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._draft.values)

    def __len__(self) -> int:
        return len(self._draft.values)

    def __contains__(self, name: object) -> bool:
        return name in self._draft.values

    def __repr__(self) -> str:
        return f"State({self._draft.values!r})"

    @property
    def key(self) -> Any:
        """The key: its value, or the list of its parts where it has several."""
        return key_of(self._draft.field)

    @property
    def time(self) -> datetime:
        """The record's event time, or the time at which the timer was to go off."""
        return EPOCH.astimezone(UTC) + timedelta(milliseconds=self._draft.time)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value of that name; if there is none, the default is put there first."""
        if name not in self:
            self[name] = default
        return self[name]

    def clear(self) -> None:
        """Forget the key; timers that are set go off all the same."""
        self._draft.clear()

    def timer(self, at: datetime | date | timedelta | str | float, name: str = "") -> None:
        """Have `on_timer` called when the watermark gets to a time: one of that name is moved there.

        The time is a datetime (UTC without a zone), ISO 8601 text, seconds since 1970, or how long after `time`.
        """
        if not self._draft.waits:
            raise RecordError("state.timer: the step has no `on_timer`, which says what to call")
        self._set(name, event_time(self.time + at if isinstance(at, timedelta) else at))

    def cancel(self, name: str = "") -> None:
        """Call a timer off; it may be one that is not set."""
        self._set(name, None)

    def _set(self, name: str, at: int | None) -> None:
        if not isinstance(name, str):
            raise RecordError(f"state: the name of a timer has to be text, not {name!r:.80}")
        self._draft.timers[name] = at


def key_of(field: bytes) -> Any:
    """The key that a field is of: its value, or the list of its parts where it has several."""
    parts = parts_of(field)
    return parts[0] if len(parts) == 1 else parts


def _form(name: str, value: object) -> Value:
    """A value as JSON has it; raises RecordError if it has none."""
    if not isinstance(name, str):
        raise RecordError(f"state: the name of a value has to be text, not {name!r:.80}")
    if name.isascii():
        kind = value.__class__
        if kind is bool or value is None or (kind is str and value.isascii()):  # type: ignore[attr-defined]
            return value  # type: ignore[return-value]
        if (kind is int and -_SMALL < value < _SMALL) or (kind is float and isfinite(value)):  # type: ignore[operator, arg-type]
            return value  # type: ignore[return-value]
    form = json_form({name: value})
    assert isinstance(form, dict)  # noqa: S101 - for mypy: it was one
    return form[name]
