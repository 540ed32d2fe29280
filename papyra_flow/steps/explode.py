"""`explode`: one record for each item of a list in the record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, Step, StepConfig


class Explode(StepConfig):
    """Make one record for each item of a list: the record's other fields, and the item in place of the list.

    A missing, null or empty list makes no record, which counts as dropped.
    """

    name: ClassVar[str] = "explode"
    main: ClassVar[str] = "field"

    field: str = Field(description="The field that holds the list.")
    as_: str | None = Field(None, alias="as", description="The field that holds the item (the list's own).")
    index: str | None = Field(None, description="A field for the item's index in the list, from 0.")

    def build(self, context: SetupContext) -> Step:
        """The step."""
        target = self.as_ or self.field

        def apply(record: Record) -> Iterator[Record]:
            items = record.get(self.field)
            if items is None:
                return
            if not isinstance(items, list):
                raise RecordError(f"explode: the field {self.field!r} holds {items!r}, not a list")
            rest = {name: value for name, value in record.items() if name != self.field}
            for place, item in enumerate(items):
                exploded = {**rest, target: item}
                if self.index:
                    exploded[self.index] = place
                yield exploded

        return Each(apply)
