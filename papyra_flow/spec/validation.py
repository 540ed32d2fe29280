"""From data to the models, or to all that is wrong with it: what pydantic says, as sentences with places and hints."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from papyra_flow.errors import Problem
from papyra_flow.expressions.parse import NotAnExpressionError
from papyra_flow.expressions.template import Template
from papyra_flow.spec.choice import OneOf
from papyra_flow.spec.components import Component
from papyra_flow.spec.models import PipelineConfig
from papyra_flow.spec.positions import Positions, Spot

_CODES = {
    "extra_forbidden": "unknown-key",
    "missing": "missing-key",
    "unknown_component": "unknown-component",
    "component_form": "component-form",
    "component_broken": "component-broken",
    "stage_input": "stage-input",
    "stage_output": "stage-output",
}


def validated(tree: object, positions: Positions, folder: Path) -> PipelineConfig | list[Problem]:
    """The models of a pipeline's data, or every problem of it; `folder` is where its relative paths start."""
    if not isinstance(tree, dict):
        hint = "start with `pipeline: NAME`"
        return [positions.problem((), "wrong-value", "a pipeline file is a mapping", hint)]
    try:
        return PipelineConfig.model_validate(tree, context={"folder": folder})
    except ValidationError as exc:
        return [_problem(positions, details, folder) for details in exc.errors(include_url=False)]


def _problem(positions: Positions, details: ErrorDetails, folder: Path) -> Problem:
    location, kind = details["loc"], details["type"]
    message = details["msg"].removeprefix("Value error, ")
    hint = (details.get("ctx") or {}).get("hint")
    if kind == "extra_forbidden":
        key = str(location[-1])
        known = _keys_at(location[:-1], folder)
        near = difflib.get_close_matches(key, known, 1, cutoff=0.6)
        message = f"unknown key {key!r}"
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}" if known else None
        return positions.problem(location, "unknown-key", message, hint, at_key=True)
    if kind == "missing":
        message = f"{_words(location[:-1])} needs the key {str(location[-1])!r}"
    elif kind == "too_short" and (details.get("ctx") or {}).get("actual_length") == 0:
        message = f"{_words(location)} is empty"
    elif kind == "string_pattern_mismatch" and "[key]" in location:
        location = location[:-1]
        message = f"{location[-1]!r} is not a name: letters, digits, - and _, starting with a letter"
    elif kind == "string_pattern_mismatch":
        message = f"{details['input']!r} is not a name: letters, digits, - and _, starting with a letter"
    elif kind not in _CODES and not details["msg"].startswith("Value error, "):
        message = f"{message[:1].lower()}{message[1:]}"
        if isinstance(details["input"], str | int | float | None):
            message += f", not {details['input']!r}"
    code = _CODES.get(kind, "wrong-value")
    return positions.problem(location, code, message, hint, spot=_spot(details))


def _spot(details: ErrorDetails) -> Spot | None:
    """The place in an expression where it stops being one."""
    error, text = (details.get("ctx") or {}).get("error"), details["input"]
    if not isinstance(error, NotAnExpressionError) or not isinstance(text, str):
        return None
    written = text.as_expression() if isinstance(text, Template) else text
    return Spot(written, error.line, error.column)


def _words(location: tuple[str | int, ...]) -> str:
    named = [str(part) for part in location if isinstance(part, str)]
    return f"`{'.'.join(named)}`" if named else "the file"


def _keys_at(location: tuple[str | int, ...], folder: Path) -> list[str]:
    """The keys that a file may write at a place, found by walking the models."""
    current: Any = PipelineConfig  # an annotation: a class, a generic alias or a union
    for part in location:
        current = _step_into(current, part, folder)
    for one in (current, *get_args(current)):  # a model, or one that may be left out
        if isinstance(one, type) and issubclass(one, BaseModel):
            return [field.alias or name for name, field in one.model_fields.items()]
    return []


def _step_into(annotation: Any, part: str | int, folder: Path) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Component):
        return None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, model_field in annotation.model_fields.items():
            if part in {name, model_field.alias}:
                group = next((item.group for item in model_field.metadata if isinstance(item, OneOf)), None)
                return OneOf(group) if group else model_field.annotation
        return None
    if isinstance(annotation, OneOf):
        return annotation.component(str(part), folder)
    for argument in get_args(annotation):
        if isinstance(argument, OneOf):
            return argument if isinstance(part, int) else _step_into(argument, part, folder)
    if get_origin(annotation) is dict:
        return _plain(get_args(annotation)[1])
    if get_origin(annotation) is list:
        item = get_args(annotation)[0]
        choice = next((argument for argument in get_args(item) if isinstance(argument, OneOf)), None)
        return choice or _plain(item)
    for argument in get_args(annotation):
        if (found := _step_into(argument, part, folder)) is not None:
            return found
    return None


def _plain(annotation: Any) -> Any:
    """The type inside `Annotated[...]`, unless it is a choice of components."""
    if hasattr(annotation, "__metadata__") and not any(isinstance(m, OneOf) for m in annotation.__metadata__):
        return get_args(annotation)[0]
    return annotation
