"""`run`: a Python function of the user's as a step.

The function may be sync, async, a generator, or take a whole batch; a parameter annotated with a pydantic
model gets one, and a second one that is annotated with `Context` what else is known of the record. What it returns is
None (drop), a record, an `Emit`, or an iterable of those. A class with a `__call__` is made once, when its stage
starts, set up by its `setup` and torn down by its `teardown`. Step functions are imported from the pipeline's folder.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from papyra_flow.error_text import error_of
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.units import Duration
from papyra_flow.steps.base import OfTable, Step, StepConfig
from papyra_flow.steps.functions import (
    forks,
    ways_out,  # noqa: F401 - in force before any code of the user is imported
)
from papyra_flow.steps.functions.calls import is_ctrl_c
from papyra_flow.steps.functions.hosts import Host
from papyra_flow.steps.functions.step_function import Function, StepFunction, served


class Run(StepConfig):
    """Call a Python function, `module:function`, with each record, or with a whole batch."""

    name: ClassVar[str] = "run"
    main: ClassVar[str] = "function"

    function: str = Field(
        pattern=r"^[\w.]+:[\w.]+$", description="The function, or a class with a `__call__`, as `module:name`."
    )
    batch: bool = Field(False, description="The function takes a list of records and returns one of equal length.")
    concurrency: int = Field(16, ge=1, le=10_000, description="Calls at a time, of an async or threaded function.")
    thread: bool = Field(False, description="Call a function that blocks in threads, so that it holds up nobody.")
    timeout: Duration | None = Field(None, description="How long one call of an async or threaded function may take.")

    @property
    def calls_code(self) -> bool:
        """It does nothing else."""
        return True

    def build(self, context: SetupContext) -> Step:
        """The step; raises ValueError if the function cannot be imported or does not fit."""
        return self._function(context).build(context)

    def build_table(self, context: SetupContext) -> OfTable | None:
        """The function of tables; None for one of records. Raises ValueError as `build` does."""
        return self._function(context).build_table(context)

    def accepts(self, context: SetupContext) -> type | None:
        """The pydantic model of the function's parameter."""
        return self._function(context).signature.model

    def returns(self, context: SetupContext) -> type | None:
        """The pydantic model that the function is annotated to return, alone, in a list or as a generator."""
        return self._function(context).signature.returns

    def _function(self, context: SetupContext) -> StepFunction:
        found = import_function(self.function, context.folder)
        method = served(found)
        host = Host(self.function, found, "__call__", context) if method is not None else None
        return StepFunction(
            method or found, self.function, host,
            batch=self.batch, concurrency=self.concurrency, thread=self.thread, timeout=self.timeout,
        )  # fmt: skip


def import_function(name: str, folder: Path) -> Function:
    """The function called `module:function`, with modules of `folder` found first.

    Raises ValueError with one sentence: no such module, no such function, or the module's own exception.
    """
    module_name, _, attribute = name.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise ValueError(f"there is no module {exc.name!r} (looked in {folder.name}/ and what is installed)") from exc
    except BaseException as exc:
        forks.leave_if_child(exc)
        if is_ctrl_c(exc):
            raise
        raise ValueError(f"{module_name} cannot be imported: {error_of(exc)}") from exc
    forks.leave_if_child()
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise ValueError(f"the module {module_name!r} has no function {attribute!r}") from None
    except Exception as exc:
        raise ValueError(f"the function {attribute!r} of {module_name!r} cannot be had: {error_of(exc)}") from exc
    if not callable(found):
        raise ValueError(f"{name} is not a function")
    return found
