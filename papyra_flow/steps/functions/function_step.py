"""A step that calls a function: what `run` and a `Step` of an author's own have in common."""

from __future__ import annotations

from abc import abstractmethod

from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import OfTable, Step, StepConfig
from papyra_flow.steps.functions.step_function import StepFunction


class FunctionStep(StepConfig):
    """Base of such steps: what they are built into, and what they accept, is their function's."""

    @abstractmethod
    def _function(self, context: SetupContext) -> StepFunction:
        """The function; raises ValueError if it cannot be imported or does not fit."""

    def build(self, context: SetupContext) -> Step:
        """The step; raises ValueError as its function does."""
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
