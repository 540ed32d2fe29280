"""A choice among components, as a file writes it: by an installed one's name, or by where a class stands.

`{csv: a.csv}`, `{csv: {path: a.csv, types: {...}}}` and `stdout` name installed ones; `{./my_sink.py:MySink: {...}}`
and `{my_package.sinks:MySink: {...}}` a class that needs no packaging (`beside`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from papyra_flow.spec.beside import REFERENCE, NotUsableError, is_reference, load_beside
from papyra_flow.spec.components import TAG, WORDS, Component, broken, components


@dataclass(frozen=True)
class OneOf:
    """Annotation: the value is one component of a group, chosen by the key that names it.

    The folder that classes are looked for in is `folder` in the validation's context, or else the current one.
    """

    group: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[str, CoreSchema] = {
            name: handler.generate_schema(cls) for name, cls in components(self.group).items()
        }
        union = core_schema.tagged_union_schema(choices, discriminator=lambda data: data[TAG])
        return core_schema.with_info_wrap_validator_function(self._validated, union)

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
        return {"anyOf": [*forms, *self._beside_forms()]}

    def _beside_forms(self) -> list[JsonSchemaValue]:
        """A class by where it stands: what it takes is not known here."""
        title = f"a {WORDS[self.group]} of your own, such as ./my_{WORDS[self.group]}.py:MyClass"
        named = {"not": {"propertyNames": {"not": {"pattern": REFERENCE.pattern}}}}
        return [{"type": "object", "title": title, **named}, {"type": "string", "pattern": REFERENCE.pattern}]

    def component(self, name: str, folder: Path) -> type[Component] | None:
        """The class that a key names; None if there is none. Raises ValueError for one that cannot be used."""
        if (found := components(self.group).get(name)) is not None or not is_reference(name):
            return found
        return load_beside(name, self.group, folder)

    def _validated(
        self, raw: object, inner: core_schema.ValidatorFunctionWrapHandler, info: core_schema.ValidationInfo
    ) -> object:
        if isinstance(raw, Component):
            if raw.kind != WORDS[self.group]:
                told = f"{type(raw).__name__} is a {raw.kind}, not a {WORDS[self.group]}"
                raise PydanticCustomError("component_form", "{told}", {"told": told})
            return raw
        if not isinstance(raw, str | Mapping) or (reference := _reference(raw)) is None:
            return inner(self.normalise(raw))
        try:
            cls = load_beside(reference, self.group, (info.context or {}).get("folder", Path.cwd()))
        except NotUsableError as exc:
            raise PydanticCustomError("component_broken", "{reason}", {"reason": str(exc)}) from exc
        # A union of one, so that places in its errors begin with its key, as those of installed components do.
        union = core_schema.tagged_union_schema({reference: cls.__pydantic_core_schema__}, lambda data: data[TAG])
        return SchemaValidator(union).validate_python(_tagged(raw, reference, cls))

    def normalise(self, raw: object) -> object:
        """The file's form of an installed component as one flat mapping of its fields, tagged with its name."""
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
        return _tagged(raw, named[0], known[named[0]])

    def _refuse_unknown(self, name: str, word: str) -> None:
        if reason := broken(self.group).get(name):
            raise PydanticCustomError("component_broken", f"the {word} {name!r} cannot be used: {reason}")
        known = list(components(self.group))
        near = difflib.get_close_matches(name, known, 1)
        raise PydanticCustomError(
            "unknown_component",
            f"unknown {word} {name!r}",
            {"hint": f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"},
        )


def _reference(raw: str | Mapping[str, object]) -> str | None:
    """The key that says where a class stands, if one does."""
    return next((key for key in ([raw] if isinstance(raw, str) else raw) if is_reference(str(key))), None)


def _tagged(raw: str | Mapping[str, object], name: str, cls: type[Component]) -> dict[str, object]:
    """One flat mapping of a component's fields: what its key holds, and what stands beside that."""
    given: Mapping[str, object] = {raw: None} if isinstance(raw, str) else raw
    value, fields = given[name], {key: item for key, item in given.items() if key != name}
    if isinstance(value, Mapping) and not cls.main_is_mapping():
        fields |= value
    elif value is not None and cls.main is not None:
        fields[cls.main] = value
    elif value is not None:
        raise PydanticCustomError("component_form", f"{name} takes no value")
    return {**fields, TAG: name}
