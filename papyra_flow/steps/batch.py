"""`batch`: from here on, a stage works on tables, one of each batch of records."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Merge, OfTable, Step, StepConfig


class ToTables(StepConfig):
    """Make one table of the records that were read together; the steps after it work on tables.

    The stage's `batch: {size, wait}` determines how many. A column's type is the type of most of its values, unless
    you set it in `types`; a record with a value that does not fit, or would have to change, goes to the dead letters.
    The records of a table are acknowledged together, with what the table became.
    """

    name: ClassVar[str] = "batch"

    types: dict[str, Literal["bool", "date", "datetime", "float", "int", "str"]] = Field(
        {}, description="Column types, by field; text is parsed as that type."
    )

    def merge(self) -> Merge:
        """Here, and nothing else."""
        return Merge(dict(self.types), alone=True)

    def build(self, context: SetupContext) -> Step:
        """Refused: it marks where steps over tables begin, and never runs over records."""
        raise ValueError("`batch` stands where records become tables")

    def build_table(self, context: SetupContext) -> OfTable:
        """Refused: what is a table already cannot become one."""
        raise ValueError("`batch` makes tables of records, but its input is already tables")
