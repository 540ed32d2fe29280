"""The contract between stages: whether what one returns is what the next accepts, by their annotated models.

A step that declares a pydantic model as its parameter accepts that; one that declares one as its result returns
that. Steps in between that keep the record's shape (`filter`) hand it on; all others make it unknown, and then
nothing is reported.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel

from papyra_flow.spec.components import SetupContext
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import StageSpec, Topology


def mismatches(topology: Topology) -> Iterator[Finding]:
    """Every place where records cannot fit the model that a step is annotated with."""
    context = topology.step_context()
    for stage in topology.stages.values():
        known: list[tuple[str, type]] = []
        for name in stage.inputs:
            for writer in topology.streams[name].writers:
                if writer != stage.name and (model := _leaves(topology.stages[writer], context)):
                    known.append((writer, model))
        for index, step in enumerate(stage.steps):
            accepted, returned = _declared(stage, index, context)
            for writer, model in known:
                if accepted and (reason := _misfit(model, accepted)):
                    message = f"{writer!r} sends {model.__name__}, which does not fit {accepted.__name__}: {reason}"
                    yield ("stages", stage.name, "process", index), "contract", message, None
            if returned:
                known = [(stage.name, returned)]
            elif not step.keeps_shape:
                known = []


def _leaves(stage: StageSpec, context: SetupContext) -> type | None:
    """The model that a stage's records fit when they leave it, if it is known."""
    for index in range(len(stage.steps) - 1, -1, -1):
        _, returned = _declared(stage, index, context)
        if returned or not stage.steps[index].keeps_shape:
            return returned
    return None


def _declared(stage: StageSpec, index: int, context: SetupContext) -> tuple[type | None, type | None]:
    step = stage.steps[index]
    try:
        return step.accepts(context), step.returns(context)
    except ValueError:
        return None, None  # said by the check that builds the steps


def _misfit(sent: type, accepted: type) -> str | None:
    """Why a record of one model does not fit another, or None if it does."""
    if sent is accepted or not (issubclass(sent, BaseModel) and issubclass(accepted, BaseModel)):
        return None
    offered = {field.serialization_alias or name: field for name, field in sent.model_fields.items()}
    for name, field in accepted.model_fields.items():
        wanted = field.alias or name
        if wanted not in offered:
            if field.is_required():
                return f"the field {wanted!r} is missing"
            continue
        if not _fits(offered[wanted].annotation, field.annotation):
            return f"the field {wanted!r} is {_shown(offered[wanted].annotation)}, not {_shown(field.annotation)}"
    return None


def _fits(sent: object, accepted: object) -> bool:
    targets = _members(accepted)
    return all(any(_fits_one(member, target) for target in targets) for member in _members(sent))


def _fits_one(sent: object, accepted: object) -> bool:
    if typing.Any in {sent, accepted} or sent == accepted:
        return True
    if typing.get_origin(sent) or typing.get_origin(accepted):
        return (typing.get_origin(sent) or sent) == (typing.get_origin(accepted) or accepted)
    if not (isinstance(sent, type) and isinstance(accepted, type)):
        return True
    if issubclass(sent, BaseModel) and issubclass(accepted, BaseModel):
        return _misfit(sent, accepted) is None
    return issubclass(sent, accepted) or (sent is int and accepted is float)


def _members(annotation: object) -> list[object]:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return list(typing.get_args(annotation))
    return [annotation]


def _shown(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
