"""From a file to a validated pipeline, or to all of its problems at once.

Read the text, substitute variables, apply `--set`, validate, and translate what pydantic says into
sentences with places and hints.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from papyra_flow.config.documents import Document, read_document, resolve_scalar
from papyra_flow.config.variables import Variables
from papyra_flow.errors import InvalidPipelineError, Problem, UsageError
from papyra_flow.expressions.parse import NotAnExpressionError
from papyra_flow.expressions.template import Template
from papyra_flow.spec.choice import OneOf
from papyra_flow.spec.components import Component
from papyra_flow.spec.models import PipelineConfig

MAX_FILE_BYTES = 8 * 1024 * 1024

_CODES = {
    "extra_forbidden": "unknown-key",
    "missing": "missing-key",
    "unknown_component": "unknown-component",
    "component_form": "component-form",
    "component_broken": "component-broken",
    "stage_input": "stage-input",
    "stage_output": "stage-output",
}


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline as its file says it, and where the file says it."""

    config: PipelineConfig
    document: Document
    path: Path
    overrides: tuple[str, ...] = ()
    other_server: bool = False
    """Whether `redis` is not the file's own, but was given with `--redis`."""

    @property
    def folder(self) -> Path:
        """What relative paths start from, and where step functions are imported from."""
        return self.path.parent


def load_pipeline(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    redis: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> LoadedPipeline:
    """Load the pipeline file at `path`.

    `overrides` are `path.to.key=value` as `--set` takes them; `redis` replaces the file's own address.
    Raises InvalidPipelineError with every problem of the file, UsageError when the file cannot be read or
    an override is malformed.
    """
    text = _read(path)
    variables = Variables(os.environ if environment is None else environment, path.resolve().parent)
    document = read_document(text, str(path), variables)
    for override in overrides:
        _override(document, override)
    if redis is not None and isinstance(document.tree, dict):
        document.tree["redis"] = redis
    config = _validate(document, path.resolve().parent)
    if config is None or document.problems:
        raise InvalidPipelineError(document.problems)
    return LoadedPipeline(config, document, path.resolve(), tuple(overrides), redis is not None)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 1024**2} MiB: not a pipeline file")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise InvalidPipelineError(
            [Problem(str(path), line, 1, "encoding", "the file is not UTF-8 text", None)]
        ) from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise UsageError(f"cannot read {path}: {reason}") from exc


def _override(document: Document, override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UsageError(f"--set takes path=value, such as stages.enrich.consumers=4, not {override!r}")
    node = document.tree
    *parents, last = dotted.split(".")
    if parents[:1] == ["stages"] and isinstance(node, dict) and isinstance(stages := node.get("stages"), dict):
        name = [*parents, last][1]
        if name not in stages:
            raise UsageError(f"--set {dotted}: unknown stage {name!r}; the stages are {', '.join(map(str, stages))}")
    for name in parents:
        if not isinstance(node, dict):
            break
        if node.get(name) is None:
            node[name] = {}
        node = node[name]
    if not isinstance(node, dict):
        raise UsageError(f"--set {dotted}: there is no such place in the file")
    try:
        value = yaml.load(text, yaml.BaseLoader) if text[:1] in "[{" else None  # noqa: S506 - strings only
    except yaml.YAMLError as exc:
        raise UsageError(f"--set {dotted}: the value is not valid YAML") from exc
    node[last] = _resolved(value) if value is not None else resolve_scalar(text)


def _resolved(value: object) -> object:
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return resolve_scalar(value) if isinstance(value, str) else value


def _validate(document: Document, folder: Path) -> PipelineConfig | None:
    if document.tree is None and document.problems:
        return None
    if not isinstance(document.tree, dict):
        document.problems.append(
            document.problem((), "wrong-value", "a pipeline file is a mapping", "start with `pipeline: NAME`")
        )
        return None
    try:
        return PipelineConfig.model_validate(document.tree, context={"folder": folder})
    except ValidationError as exc:
        placed = {(problem.line, problem.column) for problem in document.problems}
        for details in exc.errors(include_url=False):
            problem = _problem(document, details, folder)
            if (problem.line, problem.column) not in placed:
                document.problems.append(problem)
        return None


def _problem(document: Document, details: ErrorDetails, folder: Path) -> Problem:
    location, kind = details["loc"], details["type"]
    message = details["msg"].removeprefix("Value error, ")
    hint = (details.get("ctx") or {}).get("hint")
    if kind == "extra_forbidden":
        key = str(location[-1])
        known = _keys_at(location[:-1], folder)
        near = difflib.get_close_matches(key, known, 1, cutoff=0.6)
        message = f"unknown key {key!r}"
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}" if known else None
        return document.problem(location, "unknown-key", message, hint, at_key=True)
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
    if (place := _inside(document, details)) is not None:
        return document.problem_at(place, code, message, hint)
    return document.problem(location, code, message, hint)


def _inside(document: Document, details: ErrorDetails) -> tuple[int, int] | None:
    """The place in an expression where it stops being one."""
    error, text = (details.get("ctx") or {}).get("error"), details["input"]
    if not isinstance(error, NotAnExpressionError) or not isinstance(text, str):
        return None
    written = text.as_expression() if isinstance(text, Template) else text
    return document.inside(details["loc"], written, error.line, error.column)


def _words(location: tuple[str | int, ...]) -> str:
    named = [str(part) for part in location if isinstance(part, str)]
    return f"`{'.'.join(named)}`" if named else "the file"


def _keys_at(location: tuple[str | int, ...], folder: Path) -> list[str]:
    """The keys that a file may write at a place, found by walking the models."""
    current: Any = PipelineConfig  # an annotation: a class, a generic alias or a union
    for part in location:
        current = _step_into(current, part, folder)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items()]
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
