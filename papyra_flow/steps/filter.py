"""`filter`: keep the records for which an expression is true."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from papyra_flow.steps.base import Each, OfTable, Step, StepConfig, StepContext
from papyra_flow.steps.expressions import Expression, compile_filter, explain


class Filter(StepConfig):
    """Keep the records for which an expression is true; the others are dropped, and counted."""

    name: ClassVar[str] = "filter"
    main: ClassVar[str] = "expression"

    expression: Expression = Field(description="An expression over the record's fields.")

    def build(self, context: StepContext) -> Step:
        """The filter."""
        kept = compile_filter(self.expression)
        return Each(kept.one, over=kept.over, unchanged=True, explain=explain(self.expression))

    def build_table(self, context: StepContext) -> OfTable:
        """The filter, as a mask over the table's rows."""
        from papyra_flow.steps.vectorised import TableExpression

        kept = TableExpression(self.expression)
        return OfTable(lambda table: table.filter(kept.mask(table)), drops=True)

    @property
    def keeps_shape(self) -> bool:
        """A filter changes nothing."""
        return True
