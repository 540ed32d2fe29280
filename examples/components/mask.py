"""A step: all but the last characters of a field, hidden."""

from pydantic import Field

from papyra_flow import Context, Record, RecordError, Step


class Mask(Step):
    """Replace all but the last characters of a field."""

    main = "field"

    field: str = Field(description="The field's name.")
    keep: int = Field(4, ge=1, description="Characters that stay.")

    def process(self, record: Record, context: Context) -> Record:
        text = record.get(self.field)
        if not isinstance(text, str):
            raise RecordError(f"mask: {self.field!r} holds no text")
        if len(text) <= self.keep:
            context.logger.warning("%s: %r is too short to be masked", context.id, self.field)
        return {**record, self.field: "*" * (len(text) - self.keep) + text[-self.keep :]}
