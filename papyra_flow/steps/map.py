"""`map` and `set`: fields from expressions, as a new record or on top of the one there is."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from papyra_flow.expressions.compiled import compile_fields, explain
from papyra_flow.expressions.fields import Expression
from papyra_flow.records.headers import Headers
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, OfTable, Step, StepConfig


class _Fields(StepConfig):
    main: ClassVar[str] = "fields"
    keep: ClassVar[bool]
    """Whether the record's other fields stay."""

    fields: dict[str, Expression] = Field(min_length=1, description="Field names and their expressions.")

    def build(self, context: SetupContext) -> Step:
        """The mapping, compiled as one."""
        return _step(self.fields, keep=self.keep)

    def build_table(self, context: SetupContext) -> OfTable:
        """The mapping, a column for each expression."""
        return _table_step(self.fields, keep=self.keep)


class MapFields(_Fields):
    """Make a new record of the named fields, each from an expression over the old one."""

    name: ClassVar[str] = "map"
    keep: ClassVar[bool] = False


class SetFields(_Fields):
    """Add or replace fields, each from an expression over the record as it came."""

    name: ClassVar[str] = "set"
    keep: ClassVar[bool] = True


def _table_step(fields: dict[str, str], *, keep: bool) -> OfTable:
    import pyarrow as pa

    from papyra_flow.expressions.columns.vectorised import TableExpression

    made = {name: TableExpression(text) for name, text in fields.items()}

    def apply(table: pa.Table, headers: Headers) -> pa.Table:
        before = dict(zip(table.column_names, table.columns, strict=True)) if keep else {}
        return pa.table({**before, **{name: expression.values(table, headers) for name, expression in made.items()}})

    return OfTable(apply, needs_headers=True)


def _step(fields: dict[str, str], *, keep: bool) -> Step:
    made = compile_fields(fields, keep=keep)
    return Each(made.one, over=made.over, explain=explain(_shown(fields)), needs_headers=made.needs_headers)


def _shown(fields: dict[str, str]) -> str:
    return ", ".join(f"{name}: {text}" for name, text in fields.items())
