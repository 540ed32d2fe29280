"""How a file writes what `aggregate` is told: groups, when results leave, and a time zone."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from papyra_flow.expressions.fields import Expression, as_expression
from papyra_flow.spec.units import parse_duration, written_duration
from papyra_flow.state.windows import whole_milliseconds


def _named(value: object) -> object:
    """Expressions by the names of their fields: a field's own, or the expression itself."""
    named: dict[str, object] = {}
    for item in [] if value is None else value if isinstance(value, list) else [value]:
        for name, text in (item if isinstance(item, Mapping) else {str(as_expression(item)): item}).items():
            if name in named:
                raise ValueError(f"{name!r} is there twice")
            named[name] = text
    return named


def _emit(value: object) -> object:
    if value in {"final", "each"}:
        return value
    try:
        seconds = parse_duration(value)
    except ValueError:
        raise ValueError(f"expected final, each, or a duration such as 10s, not {value!r}") from None
    whole_milliseconds(seconds, "emit")
    return seconds


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        near = difflib.get_close_matches(name, known, 1)
        told = f" (did you mean {near[0]}?)" if near else "" if known else ": there are none, install tzdata"
        raise ValueError(f"unknown time zone {name!r}{told}") from None
    return name


_TEXT = {"type": "string"}
_NAMED = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}

NamedExpressions = Annotated[
    dict[str, Expression],
    BeforeValidator(_named),
    WithJsonSchema({"anyOf": [_TEXT, _NAMED, {"type": "array", "items": {"anyOf": [_TEXT, _NAMED]}}]}),
]
"""Expressions by name: one, a list of them, or a mapping."""

Emit = Annotated[
    Literal["final", "each"] | float,
    BeforeValidator(_emit),
    PlainSerializer(lambda value: written_duration(value) if isinstance(value, float) else value, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["final", "each", "10s"]}),
]
"""When results leave."""

Zone = Annotated[str, AfterValidator(_zone)]
"""A time zone, by its name."""
