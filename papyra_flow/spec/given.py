"""Functions that a pipeline in Python is given, in place of a name that a file would say."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias  # Any: what a file may say

from papyra_flow.errors import UsageError

Function: TypeAlias = Callable[..., object]


@dataclass(frozen=True, slots=True)
class GivenFunction:
    """A function, and how another process finds it where it cannot be imported by a name."""

    function: Function
    find: Callable[[], Function] | None = None

    def __str__(self) -> str:
        module, name = _names(self.function)
        return f"{module}:{name}"

    def __reduce__(self) -> tuple[object, ...]:
        if self.find is not None:
            return _found, (self.find,)
        if importable_name(self.function) is None:
            raise UsageError(f"{self} cannot be imported by another process: define it in a module, or use one process")
        return GivenFunction, (self.function,)


def importable_name(function: Function) -> str | None:
    """`module:function`, under which it can be imported; None for a lambda, or one made inside another function."""
    if not all(isinstance(getattr(function, name, None), str) for name in ("__module__", "__qualname__")):
        return None
    found: object = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    module, name = _names(function)
    return f"{module}:{name}" if found == function and module != "__main__" else None


Finder: TypeAlias = Callable[[str, int], Callable[[], Function]]
"""Says for a stage and the number of its step how another process finds the function there."""


def with_functions(tree: Mapping[str, Any], finder: Finder | None) -> dict[str, Any]:
    """A copy of a pipeline's data, in which each function stands in a `run` step, found by others as `finder` says."""
    made: dict[str, Any] = _copied(tree)
    for stage, said in made.get("stages", {}).items():
        steps = said.get("process") if isinstance(said, dict) else None
        if isinstance(steps, list):
            said["process"] = [
                _step(step, finder(stage, number) if finder else None) for number, step in enumerate(steps)
            ]
    return made


def _step(step: Any, find: Callable[[], Function] | None) -> Any:
    if isinstance(step, dict) and callable(function := step.get("run")):
        return {**step, "run": GivenFunction(function, find)}
    if callable(step) and not (isinstance(step, type) and hasattr(step, "model_fields")):  # a model has to be made
        return {"run": GivenFunction(step, find)} | ({"batch": True} if takes_batch(step) else {})
    return step


def function_at(tree: Mapping[str, Any], stage: str, number: int) -> Function:
    """The function that a pipeline's data has as a step."""
    step = tree["stages"][stage]["process"][number]
    found: Function = step["run"] if isinstance(step, dict) else step
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def takes_batch(function: Function) -> bool:
    """Whether the first parameter is annotated as a list: such a function takes a batch of records."""
    try:
        parameters = list(inspect.signature(function).parameters)
        hint = typing.get_type_hints(function).get(parameters[0]) if parameters else None
    except Exception:  # noqa: BLE001 - annotations are any expressions; what is wrong is told when the step is built
        return False
    return (typing.get_origin(hint) or hint) in {list, Sequence}


def _names(function: Function) -> tuple[str, str]:
    """The names of a function's module and of itself; a script goes by the name that its file has as a module."""
    made_by = function if hasattr(function, "__qualname__") else type(function)
    module = str(made_by.__module__)
    main = sys.modules.get("__main__")
    if module == "__main__" and (spec := getattr(main, "__spec__", None)) is not None:
        module = spec.name
    elif module == "__main__" and (file := getattr(main, "__file__", None)) is not None:
        module = Path(file).stem
    return module, made_by.__qualname__


def _found(find: Callable[[], Function]) -> GivenFunction:
    return GivenFunction(find(), find)
