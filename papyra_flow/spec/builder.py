"""Building a pipeline's data in Python, part by part: the half of `Pipeline` that says what it is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, Self, TypeAlias  # Any: what a file may say

from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from papyra_flow.spec.components import Component

ComponentLike: TypeAlias = "Mapping[str, object] | BaseModel"
"""A mapping as in a file, or the model that a file's mapping becomes."""
Connector: TypeAlias = "str | Mapping[str, object] | Component"
StepGiven: TypeAlias = "str | Mapping[str, object] | Component | Callable[..., object]"
"""A step as in a file, its model, or a function: sync, async, a generator, or one of a whole batch (`list[...]`)."""
Records: TypeAlias = Mapping[str, Sequence[Mapping[str, object]]]


class Builder:
    """The data of a pipeline. Each method adds to it and returns the pipeline; nothing is validated yet."""

    def __init__(self, name: str, *, redis: str = "embedded", description: str | None = None) -> None:
        self._tree: dict[str, Any] = {"pipeline": name}
        if description is not None:
            self._tree["description"] = description
        self._tree |= {"redis": redis, "stages": {}}

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self._tree["pipeline"])

    def stage(
        self,
        name: str,
        *,
        from_: str | Sequence[str] | None = None,
        read: Connector | None = None,
        process: Sequence[StepGiven] = (),
        to: str | ComponentLike | Sequence[str | ComponentLike] | None = None,
        write: Connector | None = None,
        match: Literal["first", "all"] | None = None,
        group: str | None = None,
        start: str | None = None,
        description: str | None = None,
        consumers: int | None = None,
        batch: ComponentLike | None = None,
        retry: ComponentLike | None = None,
        on_error: Literal["dead", "drop", "halt"] | None = None,
        claim_after: str | None = None,
        max_pending: int | None = None,
        max_record: str | int | None = None,
        ordered: bool | None = None,
        idle_after: str | None = None,
        state_cache: str | None = None,
        **unknown: Never,
    ) -> Self:
        """Add a stage, which reads `from_` a stream or `read`s a source; returns the pipeline.

        Each argument is what a stage in a file says under that name. A step may also be a function.
        """
        where = f"pipeline {self.name!r}, stage {name!r}"
        _refuse_unknown(where, unknown, Builder.stage)
        stages = self._tree.setdefault("stages", {})
        if name in stages:
            raise UsageError(f"{where}: the stage already exists")
        if isinstance(process, str) or not isinstance(process, Sequence):
            raise UsageError(f"{where}: process must be a list of steps, even for one: process=[...]")
        stages[name] = _said({
            "description": description, "from": from_, "read": read, "process": list(process) or None, "to": to,
            "match": match, "write": write, "group": group, "start": start, "consumers": consumers, "batch": batch,
            "retry": retry, "on_error": on_error, "claim_after": claim_after, "max_pending": max_pending,
            "max_record": max_record, "ordered": ordered, "idle_after": idle_after, "state_cache": state_cache,
        })  # fmt: skip
        return self

    def stream(
        self,
        name: str,
        *,
        key: str | None = None,
        retain: str | None = None,
        max_backlog: int | None = None,
        format: Literal["json", "fields", "arrow"] | None = None,  # noqa: A002 - its name in a file
        partitions: int | None = None,
        by: str | Sequence[str] | None = None,
        time: str | None = None,
        **unknown: Never,
    ) -> Self:
        """Say a stream's settings where the defaults do not fit, or declare one that others fill."""
        where = f"pipeline {self.name!r}, stream {name!r}"
        _refuse_unknown(where, unknown, Builder.stream)
        streams = self._tree.setdefault("streams", {})
        if name in streams:
            raise UsageError(f"{where}: the stream already has settings")
        streams[name] = _said({
            "key": key, "retain": retain, "max_backlog": max_backlog, "format": format, "partitions": partitions,
            "by": by, "time": time,
        })  # fmt: skip
        return self

    def defaults(
        self,
        *,
        consumers: int | None = None,
        batch: ComponentLike | None = None,
        retry: ComponentLike | None = None,
        on_error: Literal["dead", "drop", "halt"] | None = None,
        claim_after: str | None = None,
        max_pending: int | None = None,
        max_record: str | int | None = None,
        idle_after: str | None = None,
        state_cache: str | None = None,
        **unknown: Never,
    ) -> Self:
        """Say what holds for every stage that does not say otherwise."""
        _refuse_unknown(f"pipeline {self.name!r}, defaults", unknown, Builder.defaults)
        said = _said({
            "consumers": consumers, "batch": batch, "retry": retry, "on_error": on_error, "claim_after": claim_after,
            "max_pending": max_pending, "max_record": max_record, "idle_after": idle_after, "state_cache": state_cache,
        })  # fmt: skip
        self._tree["defaults"] = {**self._tree.get("defaults", {}), **said}
        return self

    def case(
        self,
        name: str,
        *,
        input: Records,  # noqa: A002 - its name in a file
        expect: Records | None = None,
        dead: Records | None = None,
        partial: bool = False,
        open: bool = False,  # noqa: A002 - its name in a file
        description: str | None = None,
        **unknown: Never,
    ) -> Self:
        """Add a test, as `tests` in a file has them: `test` and `papyra-flow test` run it, without a server."""
        where = f"pipeline {self.name!r}, test {name!r}"
        _refuse_unknown(where, unknown, Builder.case)
        tests = self._tree.setdefault("tests", {})
        if name in tests:
            raise UsageError(f"{where}: the test already exists")
        said = {"description": description, "input": input, "open": open or None, "expect": expect, "dead": dead,
                "partial": partial or None}  # fmt: skip
        tests[name] = _said(said)
        return self


def _said(arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments that were given, as the data of a file; steps and connectors may stay models."""
    return {name: _as_data(value) for name, value in arguments.items() if value is not None}


def _as_data(value: object) -> object:
    from pydantic import BaseModel

    from papyra_flow.spec.components import Component

    if isinstance(value, BaseModel) and not isinstance(value, Component):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: _as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _refuse_unknown(where: str, unknown: Mapping[str, object], method: Callable[..., object]) -> None:
    """Raise UsageError for an argument that the method does not have, with the nearest name that it has."""
    known = [name for name, one in inspect.signature(method).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in unknown:
        near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"{where}: unknown argument {name!r} ({hint})")
