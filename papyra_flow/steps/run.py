"""`run`: a Python function of the user's as a step.

The function may be sync, async, a generator, or take a whole batch; a parameter annotated with a pydantic
model gets one, and a second one that is annotated with `Context` what else is known of the record. What it returns is
None (drop), a record, an `Emit`, or an iterable of those. With `key` it is given what it remembers of that key, as a
`State` or a pydantic model, and may set timers. A class with a `__call__` is made once, when its stage
starts, set up by its `setup` and torn down by its `teardown`. Step functions are imported from the pipeline's folder.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from papyra_flow.error_text import error_of
from papyra_flow.expressions.fields import Expression
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.spec.given import GivenFunction, importable_name
from papyra_flow.spec.modules import importing_from
from papyra_flow.spec.units import Duration
from papyra_flow.state.key_column import KeyColumn
from papyra_flow.steps.base import OfTable, Step
from papyra_flow.steps.functions import (
    forks,
    ways_out,  # noqa: F401 - in force before any code of the user is imported
)
from papyra_flow.steps.functions.calls import is_ctrl_c
from papyra_flow.steps.functions.function_step import FunctionStep
from papyra_flow.steps.functions.hosts import Host
from papyra_flow.steps.functions.keyed_function import keyed_function
from papyra_flow.steps.functions.step_function import Function, StepFunction, served
from papyra_flow.steps.keyed import Keyed

_NAME = re.compile(r"^[\w.]+:[\w.]+$")


def _named_or_given(value: object) -> str | GivenFunction:
    """The name that a file says, or the function that Python gave."""
    if isinstance(value, GivenFunction) or (isinstance(value, str) and _NAME.fullmatch(value)):
        return value
    if callable(value):
        return GivenFunction(value)
    raise ValueError(f"expected module:function, not {value!r}")


def _as_name(value: str | GivenFunction) -> str:
    """The name under which a file can say it; raises ValueError if there is none."""
    name = value if isinstance(value, str) else importable_name(value.function)
    if name is None:
        raise ValueError(f"{value} cannot be referred to by name: define it at the top level of a module")
    return name


NamedFunction = Annotated[
    str | GivenFunction | Function,
    PlainValidator(_named_or_given),
    PlainSerializer(_as_name, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _NAME.pattern}),
]


class Run(FunctionStep):
    """Call a Python function, `module:function`, with each record, or with a whole batch."""

    name: ClassVar[str] = "run"
    main: ClassVar[str] = "function"

    function: NamedFunction = Field(description="The function, or a class with a `__call__`, as `module:name`.")
    batch: bool = Field(False, description="The function takes a list of records and returns one of equal length.")
    concurrency: int = Field(16, ge=1, le=10_000, description="Concurrent calls of an async or threaded function.")
    thread: bool = Field(False, description="Call a blocking function in threads, so that other work continues.")
    timeout: Duration | None = Field(None, description="How long one call of an async or threaded function may take.")

    key: Annotated[list[Expression], OneOrMany()] = Field(
        [], description="What the function's state is kept by: a field or an expression, or a list of them."
    )
    on_timer: NamedFunction | None = Field(
        None, description="The function that timers of the state call, with key, name and state, as `module:name`."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        KeyColumn("key", self.key)
        if self.key and self.batch:
            raise ValueError("`batch` and `key` do not go together: state is that of one record's key")
        if self.on_timer is not None and not self.key:
            raise ValueError("`on_timer` needs `key`: timers are those of a key")
        return self

    @property
    def keeps_state(self) -> bool:
        """Where it has a key."""
        return bool(self.key)

    @property
    def closes(self) -> bool:
        """Its timers go off."""
        return self.on_timer is not None

    @property
    def goes_by_time(self) -> bool:
        """Where it has timers."""
        return self.on_timer is not None

    def build(self, context: SetupContext) -> Step:
        """The step; raises ValueError as its function does, or if it keeps state."""
        if self.key:
            raise ValueError("`run` with `key` keeps state: it runs only in a stage that owns its partitions")
        return super().build(context)

    def build_table(self, context: SetupContext) -> OfTable | None:
        """The function of tables; None for one of records. Raises ValueError as `build` does."""
        return None if self.key else super().build_table(context)

    def build_keyed(self, context: SetupContext) -> Keyed | None:
        """The function with its state, where it has a key; raises ValueError if it does not fit."""
        if not self.key:
            return None
        on_timer = import_function(self.on_timer, context.folder) if self.on_timer is not None else None
        return keyed_function(self._function(context), self.key, on_timer, str(self.on_timer), context)

    @property
    def calls_code(self) -> bool:
        """It does nothing else."""
        return True

    def _function(self, context: SetupContext) -> StepFunction:
        found = import_function(self.function, context.folder)
        method = served(found)
        host = Host(str(self.function), found, "__call__", context) if method is not None else None
        return StepFunction(
            method or found, str(self.function), host,
            batch=self.batch, concurrency=self.concurrency, thread=self.thread, timeout=self.timeout,
            keyed=bool(self.key),
        )  # fmt: skip


def import_function(name: str | GivenFunction | Function, folder: Path) -> Function:
    """The function called `module:function`, with modules of `folder` found first; or the one that was given.

    Raises ValueError with one sentence: no such module, no such function, or the module's own exception.
    """
    if not isinstance(name, str):
        return name.function if isinstance(name, GivenFunction) else name
    module_name, _, attribute = name.partition(":")
    try:
        with importing_from(folder):
            found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise ValueError(f"module {exc.name!r} not found (looked in {folder.name}/ and installed packages)") from exc
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
        raise ValueError(f"the function {attribute!r} of {module_name!r} cannot be read: {error_of(exc)}") from exc
    if not callable(found):
        raise ValueError(f"{name} is not a function")
    return found
