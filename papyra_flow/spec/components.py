"""Steps and connectors as a file writes them: `{filter: amount > 3}`, `{csv: a.csv, types: {...}}`, `stdout`.

A component is one declared pydantic model, registered by an entry point: from it come its validation, its
JSON Schema, its page of documentation and its words in `plan`. The key that names it holds its main field
or a mapping of its fields; further fields may stand beside that key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

STEPS = "papyra_flow.steps"
SOURCES = "papyra_flow.sources"
SINKS = "papyra_flow.sinks"
WORDS = {STEPS: "step", SOURCES: "source", SINKS: "sink"}

_TAG = "\0component"


class Component(BaseModel):
    """Base of every step's and connector's model: its fields are what a user may write."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    kind: ClassVar[str] = "component"
    """Step, source or sink."""
    name: ClassVar[str]
    """The word that a file uses for it, and the name of its entry point."""
    main: ClassVar[str | None] = None
    """The field that the short form fills: `{filter: EXPR}` fills `expression`."""

    @model_validator(mode="before")
    @classmethod
    def _without_tag(cls, data: object) -> object:
        if isinstance(data, Mapping) and _TAG in data:
            return {key: value for key, value in data.items() if key != _TAG}
        return data

    def describe(self) -> str:
        """One line for `plan` and diagrams, such as `filter: amount > 3`."""
        value = getattr(self, self.main) if self.main else None
        if isinstance(value, Mapping):
            value = ", ".join(value)
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        return self.name if value is None else f"{self.name}: {value}"

    def file_paths(self) -> tuple[str, ...]:
        """The files that it reads or writes, as the pipeline names them; those of a source may be globs."""
        path = getattr(self, "path", None)
        return (path,) if isinstance(path, str) else ()

    @classmethod
    def main_is_mapping(cls) -> bool:
        """Whether the main field itself is a mapping, as that of `map` is."""
        if cls.main is None:
            return False
        annotation = cls.model_fields[cls.main].annotation
        return isinstance(origin := get_origin(annotation) or annotation, type) and issubclass(origin, Mapping)


@cache
def entry_points_of(group: str) -> dict[str, EntryPoint]:
    """The entry points registered for a group of components, by name; the first one of a name wins."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return dict(sorted(found.items()))


@cache
def components(group: str) -> dict[str, type[Component]]:
    """The installed components of a group; one whose module cannot be imported is left out (`broken`)."""
    loaded = {name: _load(point) for name, point in entry_points_of(group).items()}
    return {name: cls for name, cls in loaded.items() if not isinstance(cls, str)}


@cache
def broken(group: str) -> dict[str, str]:
    """Why components that are registered cannot be used, by name."""
    loaded = {name: _load(point) for name, point in entry_points_of(group).items()}
    return {name: reason for name, reason in loaded.items() if isinstance(reason, str)}


@cache
def _load(point: EntryPoint) -> type[Component] | str:
    try:
        loaded = point.load()
    except Exception as exc:  # noqa: BLE001 - a plugin may fail in any way, and must not take the others down
        return f"{point.value} cannot be imported: {type(exc).__name__}: {exc}"
    if not (isinstance(loaded, type) and issubclass(loaded, Component)):
        return f"{point.value} is not a Component"
    return loaded


@dataclass(frozen=True)
class OneOf:
    """Annotation: the value is one component of a group, chosen by the key that names it."""

    group: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[str, CoreSchema] = {
            name: handler.generate_schema(cls) for name, cls in components(self.group).items()
        }
        union = core_schema.tagged_union_schema(choices, discriminator=lambda data: data[_TAG])
        return core_schema.no_info_wrap_validator_function(self._validated, union)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        forms: list[JsonSchemaValue] = []
        bare = []
        for name, cls in components(self.group).items():
            full = handler(cls.__pydantic_core_schema__)
            fields = handler.resolve_ref_schema(full)
            properties = dict(fields.get("properties", {}))
            main = properties.get(cls.main, {}) if cls.main else {"type": "null"}
            beside = {key: value for key, value in properties.items() if key != cls.main}
            values = [main] if cls.main_is_mapping() else [main, full]
            forms.append(
                {
                    "type": "object",
                    "title": name,
                    "description": (cls.__doc__ or "").strip().splitlines()[0],
                    "properties": {**beside, name: {"anyOf": values}},
                    "required": [name],
                    "additionalProperties": False,
                }
            )
            if not fields.get("required"):
                bare.append(name)
        if bare:
            forms.append({"enum": bare})
        return {"anyOf": forms}

    def _validated(self, raw: object, inner: core_schema.ValidatorFunctionWrapHandler) -> object:
        if not isinstance(raw, Component):
            return inner(self.normalise(raw))
        if raw.kind != WORDS[self.group]:
            told = f"{type(raw).__name__} is a {raw.kind}, not a {WORDS[self.group]}"
            raise PydanticCustomError("component_form", "{told}", {"told": told})
        return raw

    def normalise(self, raw: object) -> object:
        """The file's form of a component as one flat mapping of its fields, tagged with its name."""
        if isinstance(raw, Component):
            return raw
        word = WORDS[self.group]
        known = components(self.group)
        if isinstance(raw, str):
            raw = {raw: None}
        if not isinstance(raw, Mapping) or not raw:
            raise PydanticCustomError("component_form", f"expected a {word}, such as {{{next(iter(known))}: ...}}")
        named = [key for key in raw if key in known]
        if not named:
            self._refuse_unknown(str(next(iter(raw))), word)
        if len(named) > 1:  # `{run: ..., batch: true}` is a `run` with its option `batch`, and not two steps
            named = [one for one in named if known[one].model_fields.keys() >= set(named) - {one}] or named
        if len(named) > 1:
            raise PydanticCustomError(
                "component_form", f"one {word} at a time: {' and '.join(named)} need an item each"
            )
        name = named[0]
        cls, value = known[name], raw[name]
        fields = {key: item for key, item in raw.items() if key != name}
        if isinstance(value, Mapping) and not cls.main_is_mapping():
            fields |= value
        elif value is not None and cls.main is not None:
            fields[cls.main] = value
        elif value is not None:
            raise PydanticCustomError("component_form", f"{name} takes no value")
        return {**fields, _TAG: name}

    def _refuse_unknown(self, name: str, word: str) -> None:
        if reason := broken(self.group).get(name):
            raise PydanticCustomError("component_broken", f"the {word} {name!r} cannot be used: {reason}")
        known = list(components(self.group))
        near = difflib.get_close_matches(name, known, 1)
        raise PydanticCustomError(
            "unknown_component",
            f"there is no {word} {name!r}",
            {"hint": f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"},
        )
