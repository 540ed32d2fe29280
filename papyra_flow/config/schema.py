"""The JSON Schema of a pipeline file, for editors (https://json-schema.org/draft/2020-12)."""

from __future__ import annotations

from papyra_flow.spec.models import PipelineConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def pipeline_schema() -> dict[str, object]:
    """The schema of a pipeline file with all installed steps and connectors."""
    schema = PipelineConfig.model_json_schema(by_alias=True)
    return {"$schema": DIALECT, **schema, "title": "papyra-flow pipeline"}
