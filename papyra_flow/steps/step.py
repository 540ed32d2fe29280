"""`Step`: the base of a step of your own, a declared model and what it does with a record in one class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any, ClassVar

from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.functions.function_step import FunctionStep
from papyra_flow.steps.functions.hosts import Host
from papyra_flow.steps.functions.step_function import StepFunction


class Step(FunctionStep):
    """Base of a step of your own: its fields are what a file may set, `process` is what it does. Since 0.2.

    `process` takes what a step function takes: a record, or a pydantic model, or a table, and a `Context` if it asks
    for one; it may be async or a generator, and returns what a step function returns. What it keeps between calls are
    attributes that begin with `_`; each stage and process has a copy of its own.
    """

    takes_batch: ClassVar[bool] = False
    """Whether `process` takes a list of records and returns one of equal length."""
    concurrency: ClassVar[int] = 16
    """Calls at a time, if `process` is async."""

    def setup(self, context: SetupContext) -> Awaitable[None] | None:
        """Open what it needs: a connection pool, a model."""
        return None

    @abstractmethod
    def process(self, *given: Any, **named: Any) -> Any:  # Any: a record or a model, a context if it is wanted
        """What a record becomes: None (dropped), a record, an `Emit`, or an iterable of those."""

    def teardown(self) -> Awaitable[None] | None:
        """Close what `setup` opened."""
        return None

    def _function(self, context: SetupContext) -> StepFunction:
        host = Host(f"the step {self.name}", lambda: self.model_copy(deep=True), "process", context)
        label = f"{self.name}.process"
        return StepFunction(type(self).process, label, host, batch=self.takes_batch, concurrency=self.concurrency)
