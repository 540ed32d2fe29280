"""`filter`: keep the records for which an expression is true."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from papyra_flow.expressions.compiled import compile_filter, explain
from papyra_flow.expressions.fields import Condition
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, OfTable, Step, StepConfig


class Filter(StepConfig):
    """Keep the records for which an expression is true; the others are dropped, and counted."""

    name: ClassVar[str] = "filter"
    main: ClassVar[str] = "expression"

    expression: Condition = Field(description="An expression over the record's fields.")

    def build(self, context: SetupContext) -> Step:
        """The filter."""
        kept = compile_filter(self.expression)
        return Each(
            kept.one,
            over=kept.over,
            unchanged=True,
            explain=explain(self.expression),
            needs_headers=kept.needs_headers,
        )

    def build_table(self, context: SetupContext) -> OfTable:
        """The filter, as a mask over the table's rows."""
        from papyra_flow.expressions.columns.vectorised import TableExpression

        kept = TableExpression(self.expression)
        return OfTable(
            lambda table, headers: table.filter(kept.mask(table, headers)),
            drops=True,
            needs_headers=True,
        )

    @property
    def keeps_shape(self) -> bool:
        """A filter changes nothing."""
        return True
