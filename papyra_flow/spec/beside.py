"""Components that need no packaging: a class in a file beside the pipeline's, or in a module that can be imported.

`./my_sink.py:MySink` is a path from the pipeline's folder, `my_package.sinks:MySink` a module, looked for in that
folder first. Each file is a module of its own here, so that pipelines with files of one name do not meet.
"""

from __future__ import annotations

import copyreg
import importlib
import importlib.util
import re
import sys
from hashlib import blake2s
from pathlib import Path
from types import ModuleType

from papyra_flow.error_text import error_of
from papyra_flow.spec.components import WORDS, Component, flaw
from papyra_flow.spec.modules import importing_from

REFERENCE = re.compile(r"^([^:]*\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*$")


class NotUsableError(ValueError):
    """Where a file says that a class stands there is none, or it is not a component."""


def is_reference(text: str) -> bool:
    """Whether a key of a file says where a class stands, and is not a component's name."""
    return REFERENCE.match(text) is not None


def load_beside(reference: str, group: str, folder: Path) -> type[Component]:
    """The class; raises NotUsableError with one sentence for what cannot be found, imported or used."""
    place, _, name = reference.rpartition(":")
    try:
        with importing_from(folder):
            module = _file(place, folder) if place.endswith(".py") else _module(place, folder)
    except (KeyboardInterrupt, NotUsableError):
        raise
    except BaseException as exc:
        told = error_of(exc).partition("\n")[0]
        raise NotUsableError(f"{place} cannot be imported: {told}") from exc
    found = getattr(module, name, None)
    if found is None:
        raise NotUsableError(f"{place} has no class {name!r}")
    if (reason := flaw(found, WORDS[group])) is not None:
        raise NotUsableError(f"{reference} {reason}")
    cls: type[Component] = found
    cls.is_beside = True
    # Another process finds the class by its place again, and not by a module's name, which it could not import.
    copyreg.pickle(cls, lambda one: (_again, (reference, group, folder, one.__getstate__())))
    return cls


def _again(reference: str, group: str, folder: Path, state: dict[object, object]) -> Component:
    """A component that another process had."""
    cls = load_beside(reference, group, folder)
    made = cls.__new__(cls)
    made.__setstate__(state)
    return made


def _file(place: str, folder: Path) -> ModuleType:
    path = (folder / place).resolve()
    name = f"{path.stem}_{blake2s(str(path).encode(), digest_size=6).hexdigest()}"
    if (known := sys.modules.get(name)) is not None:
        return known
    if not path.is_file():
        raise NotUsableError(f"file not found: {place} (looked in {folder.name}/)")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NotUsableError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and annotations look for their own module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module(place: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as exc:
        raise NotUsableError(
            f"module {exc.name!r} not found (looked in {folder.name}/ and installed packages)"
        ) from exc
