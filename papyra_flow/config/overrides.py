"""`--set path.to.key=value`: replacing a value of a pipeline before it is validated."""

from __future__ import annotations

import yaml

from papyra_flow.config.documents import resolve_scalar
from papyra_flow.errors import UsageError


def apply_override(tree: object, override: str) -> None:
    """Replace a value in a pipeline's data; raises UsageError for an override that is malformed or names no place."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UsageError(f"--set takes path=value, such as stages.enrich.consumers=4, not {override!r}")
    node = tree
    *parents, last = dotted.split(".")
    if parents[:1] == ["stages"] and isinstance(node, dict) and isinstance(stages := node.get("stages"), dict):
        name = [*parents, last][1]
        if name not in stages:
            raise UsageError(f"--set {dotted}: unknown stage {name!r}; the stages are {', '.join(map(str, stages))}")
    for name in parents:
        if not isinstance(node, dict):
            break
        if node.get(name) is None:
            node[name] = {}
        node = node[name]
    if not isinstance(node, dict):
        raise UsageError(f"--set {dotted}: no such key in the pipeline")
    try:
        value = yaml.load(text, yaml.BaseLoader) if text[:1] in "[{" else None  # noqa: S506 - strings only
    except yaml.YAMLError as exc:
        raise UsageError(f"--set {dotted}: the value is not valid YAML") from exc
    node[last] = _resolved(value) if value is not None else resolve_scalar(text)


def _resolved(value: object) -> object:
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return resolve_scalar(value) if isinstance(value, str) else value
