"""`drop` and `rename`: fields taken away or given another name."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from papyra_flow.records.entries import Record
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.steps.base import Each, OfTable, Step, StepConfig


class DropFields(StepConfig):
    """Remove fields; missing ones are ignored."""

    name: ClassVar[str] = "drop"
    main: ClassVar[str] = "fields"

    fields: Annotated[list[str], OneOrMany()] = Field(min_length=1, description="The fields' names.")

    def build(self, context: SetupContext) -> Step:
        """The step."""
        gone = frozenset(self.fields)
        return Each(lambda record: {name: value for name, value in record.items() if name not in gone})

    def build_table(self, context: SetupContext) -> OfTable:
        """The step, without a look at any row."""
        return OfTable(lambda table: table.drop_columns([name for name in self.fields if name in table.column_names]))


class RenameFields(StepConfig):
    """Rename fields, in place; missing ones are ignored."""

    name: ClassVar[str] = "rename"
    main: ClassVar[str] = "fields"

    fields: dict[str, str] = Field(min_length=1, description="Old names and new ones.")

    def build(self, context: SetupContext) -> Step:
        """The step."""
        names = dict(self.fields)

        def apply(record: Record) -> Record:
            return {names.get(name, name): value for name, value in record.items()}

        return Each(apply)

    def build_table(self, context: SetupContext) -> OfTable:
        """The step, without a look at any row."""
        return OfTable(lambda table: table.rename_columns([self.fields.get(name, name) for name in table.column_names]))
