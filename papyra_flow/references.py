"""Pipelines in Python by how the command line names them: `shop:pipeline`, or `path/to/shop.py:pipeline`.

What is named is a `Pipeline`, or a function without arguments that returns one. A module is imported as Python finds
it from the current folder, a file with its own folder before everything else.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType

from papyra_flow.error_text import error_of
from papyra_flow.errors import InvalidPipelineError, UsageError
from papyra_flow.pipeline import Pipeline
from papyra_flow.spec.given import Function
from papyra_flow.spec.modules import importing_from, read_again

_REFERENCE = re.compile(r"(?P<place>.+\.py|[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_][\w.]*)")


def is_reference(file: Path) -> bool:
    """Whether an argument names a pipeline in Python: a file of that very name comes first."""
    return _REFERENCE.fullmatch(str(file)) is not None and not file.exists()


def find_pipeline(reference: str, *, folder: Path | None = None, again: bool = False) -> Pipeline:
    """The pipeline that is named, seen from a folder, the current one; read `again` although it is imported already.

    Raises UsageError, in one sentence, for what is not there or fails when it is imported.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UsageError(f"{reference!r} is not MODULE:PIPELINE, such as shop:pipeline or shop.py:pipeline")
    place, attribute, start = match["place"], match["attribute"], folder or Path.cwd()
    try:
        module = _imported(place, start, again=again)
        found = _attribute(module, place, attribute)
    except (KeyboardInterrupt, InvalidPipelineError, UsageError):
        raise
    except BaseException as exc:
        raise UsageError(f"{reference}: {place} cannot be imported: {error_of(exc)}") from exc
    if not isinstance(found, Pipeline) and callable(found) and not _needs_arguments(found):
        found = _made(reference, found)
    if not isinstance(found, Pipeline):
        wanted = "neither a Pipeline nor a function without arguments that returns one"
        raise UsageError(f"{reference} is {wanted}, but of type {type(found).__name__}")
    found.reference = reference
    found.finder = lambda stage, number: partial(find_function, reference, start, stage, number)
    return found


def _made(reference: str, factory: Function) -> object:
    try:
        return factory()
    except (KeyboardInterrupt, InvalidPipelineError, UsageError):
        raise
    except BaseException as exc:
        raise UsageError(f"{reference}() made no pipeline: {error_of(exc)}") from exc


def find_function(reference: str, folder: Path, stage: str, number: int) -> Function:
    """The function that is a step of the pipeline that is named: for another process, which imports that itself."""
    return find_pipeline(reference, folder=folder).function_at(stage, number)


def _imported(place: str, folder: Path, *, again: bool) -> ModuleType:
    if place.endswith(".py"):
        path = (folder / place).resolve()
        if not path.is_file():
            raise UsageError(f"file not found: {place}")
        with read_again(path.parent) if again else nullcontext(), importing_from(path.parent):
            module = importlib.import_module(path.stem)
        if Path(module.__file__ or "").resolve() != path:
            raise UsageError(f"{place} cannot be imported: another module is called {path.stem!r}; rename the file")
        return module
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        origin = importlib.util.find_spec(place)
        if again and origin is not None and origin.origin is not None:
            with read_again(Path(origin.origin).parent):
                return importlib.import_module(place)
        return importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (place == exc.name or place.startswith(f"{exc.name}.")):
            raise UsageError(
                f"no file {place!r} and no module {exc.name!r} found (looked in {folder} and installed packages)"
            ) from exc
        raise


def _attribute(module: ModuleType, place: str, attribute: str) -> object:
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(attribute, [name for name in vars(module) if name[0] != "_"], 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(f"{place} has no {attribute!r}{hint}")
        found = getattr(found, part)
    return found


def _needs_arguments(function: Function) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return True
    return False
