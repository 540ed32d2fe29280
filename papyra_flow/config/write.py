"""A pipeline's data as the text of a file, which means the same when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from pydantic_core import PydanticSerializationError

from papyra_flow.config.documents import resolve_scalar
from papyra_flow.errors import UsageError
from papyra_flow.spec.components import SINKS, SOURCES, STEPS, Component, components
from papyra_flow.spec.given import GivenFunction, importable_name
from papyra_flow.spec.positions import Path, name_of


class _Written(str):
    """Text that a file had with `${...}` in it, which is written as it was."""

    __slots__ = ()


def written_yaml(tree: Mapping[str, object], references: Mapping[Path, str]) -> str:
    """The text; `references` are values that a file had with `${...}` in them, by their paths.

    Raises UsageError for what has no name that a file could say.
    """
    data = _Writing(str(tree["pipeline"]), references).data(tree, ())
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Writing:
    def __init__(self, pipeline: str, references: Mapping[Path, str]) -> None:
        self._pipeline = pipeline
        self._references = references

    def data(self, value: object, path: Path) -> object:
        """What a part is in a file."""
        if path in self._references:
            return _Written(self._references[path])
        if isinstance(value, Component):
            return self.data(self._component(value, path), path)
        if callable(value) or isinstance(value, GivenFunction):
            given = value if isinstance(value, GivenFunction) else GivenFunction(value)
            if (name := importable_name(given.function)) is None:
                message = f"{given} cannot be referred to by name: define it at the top level of a module"
                raise self._unnamed(path, message)
            return name
        if isinstance(value, Mapping):
            return {str(key): self.data(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item, (*path, number)) for number, item in enumerate(value)]
        return str(value).replace("${", "$${") if isinstance(value, str) else value

    def _component(self, value: Component, path: Path) -> dict[str, object]:
        named = {cls for group in (STEPS, SOURCES, SINKS) for cls in components(group).values()}
        if type(value) not in named:
            raise self._unnamed(path, f"no entry point names the {value.kind} {type(value).__name__}")
        try:
            return {value.name: value.model_dump(mode="json", by_alias=True, exclude_unset=True)}
        except PydanticSerializationError as exc:
            raise self._unnamed(path, str(exc).rpartition("ValueError: ")[2]) from exc

    def _unnamed(self, path: Path, message: str) -> UsageError:
        return UsageError(f"{name_of(self._pipeline, path)}: {message}")


class _Dumper(yaml.SafeDumper):
    """Writes for readers of YAML 1.2, to whom other plain words are numbers than to PyYAML."""

    def ignore_aliases(self, data: object) -> bool:
        """Everything is written out."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = isinstance(text, _Written) or isinstance(resolve_scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=None if plain else "'")


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Written, _text)
