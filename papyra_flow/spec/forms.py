"""Short forms of values in a pipeline file: one item where a list is meant, a word where a mapping is meant."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class OneOrMany:
    """Annotation of a list: a single item may stand for a list of one, and a bare string for `{short: string}`."""

    short: str | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = handler(schema)
        item = listed["items"]
        if self.short is not None:
            item = {"anyOf": [{"type": "string"}, item]}
        return {"anyOf": [item, {**listed, "items": item}]}

    def _listed(self, value: object) -> object:
        listed = value if isinstance(value, list) or value is None else [value]
        if listed is None or self.short is None:
            return listed
        return [{self.short: item} if isinstance(item, str) else item for item in listed]
