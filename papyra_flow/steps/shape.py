"""`drop` and `rename`: fields taken away or given another name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.forms import OneOrMany
from papyra_flow.steps.base import Each, OfTable, Step, StepConfig

if TYPE_CHECKING:
    import pyarrow as pa


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
    """Rename fields, in place; missing ones are ignored, and a name that is taken fails the record."""

    name: ClassVar[str] = "rename"
    main: ClassVar[str] = "fields"

    fields: dict[str, str] = Field(min_length=1, description="Old names and new ones.")

    def build(self, context: SetupContext) -> Step:
        """The step."""
        names = dict(self.fields)

        def apply(record: Record) -> Record:
            made = {names.get(name, name): value for name, value in record.items()}
            if len(made) < len(record):
                raise self._taken(list(record))
            return made

        return Each(apply)

    def build_table(self, context: SetupContext) -> OfTable:
        """The step, without a look at any row."""

        def renamed(table: pa.Table) -> pa.Table:
            made = [self.fields.get(name, name) for name in table.column_names]
            if len({*made}) < len(made):
                raise self._taken(table.column_names)
            return table.rename_columns(made)

        return OfTable(renamed)

    def _taken(self, names: list[str]) -> RecordError:
        old, new = next(
            (old, new) for old, new in self.fields.items() if old in names and self._comes_to(new, names) > 1
        )
        return RecordError(f"rename: {old!r} cannot become {new!r}, which the record has already")

    def _comes_to(self, new: str, names: list[str]) -> int:
        return sum(self.fields.get(name, name) == new for name in names)
