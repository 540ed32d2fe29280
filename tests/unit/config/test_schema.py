"""The JSON Schema agrees with the models: what one accepts, the other accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from papyra_flow.config.load import load_document
from papyra_flow.config.schema import pipeline_schema
from papyra_flow.spec.components import SINKS, SOURCES, STEPS, components

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(json.dumps(pipeline_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "file",
    [ROOT / "pipelines/flights.yml", ROOT / "papyra_flow/cli/templates/orders/pipeline.yml"],
    ids=lambda p: p.name,
)
def test_shipped_pipelines_fit_the_schema(validator: Any, file: Path) -> None:
    assert [error.message for error in validator.iter_errors(load_document(file).tree)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("stages", "a", "form"), "x"),
        (("stages", "a", "consumers"), 0),
        (("stages", "a", "process"), [{"fliter": "x"}]),
        (("stages", "a", "read"), {"csv": {"path": "a.csv", "tipes": {}}}),
        (("streams", "s", "retain"), 5),
        (("unknown",), 1),
    ],
)
def test_what_the_models_refuse_the_schema_refuses_too(validator: Any, path: tuple[str, ...], value: object) -> None:
    document: dict[str, Any] = {
        "pipeline": "p", "stages": {"a": {"read": {"jsonl": "in"}, "to": "s"}}, "streams": {"s": {}},
    }  # fmt: skip
    assert not list(validator.iter_errors(document))
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert list(validator.iter_errors(document))


@pytest.mark.parametrize("group", [STEPS, SOURCES, SINKS])
def test_every_component_documents_itself_and_all_its_fields(group: str) -> None:
    for name, component in components(group).items():
        assert component.name == name
        assert (component.__doc__ or "").strip()
        undocumented = [field for field, info in component.model_fields.items() if not info.description]
        assert undocumented == [], name
