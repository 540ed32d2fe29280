"""Steps and connectors as a file writes them: `{filter: amount > 3}`, `{csv: a.csv, types: {...}}`, `stdout`.

A component is one declared pydantic model, registered by an entry point: from it come its validation, its
JSON Schema, its page of documentation and its words in `plan`. The key that names it holds its main field
or a mapping of its fields; further fields may stand beside that key.
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Literal, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

from papyra_flow.spec.own_figures import OwnFigures
from papyra_flow.spec.tables import ReadState, TableRef

STEPS = "papyra_flow.steps"
SOURCES = "papyra_flow.sources"
SINKS = "papyra_flow.sinks"
WORDS = {STEPS: "step", SOURCES: "source", SINKS: "sink"}

TAG = "\0component"
"""The key under which a mapping of fields says which component it is of."""
PROMISES = ("exactly-once", "at-least-once", "at-most-once")


@dataclass(frozen=True, slots=True)
class RedisKey:
    """A key that a component uses on a Redis server; `server` is None where that is the pipeline's own."""

    key: str
    type: Literal["hash", "stream"] | None = None
    """What the key has to hold; None where that is the component's own business."""
    server: str | None = None
    writes: bool = False


@dataclass(frozen=True, slots=True)
class SetupContext:
    """Where a component is used: the pipeline and its folder, the stage, and the pipeline's server. Since 0.2."""

    folder: Path
    pipeline: str = ""
    stage: str = ""
    redis: str = ""
    own: OwnFigures = field(default_factory=OwnFigures, repr=False, compare=False)
    """Where `count`, `observe` and `timer` keep their figures."""
    tables: Mapping[str, TableRef | None] = field(default_factory=dict, repr=False, compare=False)
    """The pipeline's stages, each with the table that it keeps, if it keeps one."""
    read_state: ReadState | None = field(default=None, repr=False, compare=False)
    """Where those tables are, if not on the pipeline's server."""

    def count(self, name: str, number: int = 1) -> None:
        """Count something of the step's own under a name: `run`, `--json` and the metrics show it. Since 0.2.

        What is counted by a record counts again when the record is tried again. Raises RecordError for more than 100
        names in a stage.
        """
        self.own.count(name, number)

    def observe(self, name: str, value: float) -> None:
        """Measure a value of the step's own, 0 or more, such as a size; the metrics have a histogram. Since 0.2.

        Raises RecordError for more than 100 names in a stage.
        """
        self.own.observe(name, value)

    def timer(self, name: str) -> AbstractContextManager[None]:
        """Measure how long a block takes, `with context.timer("call"): ...`, also where it raises or awaits. Since 0.2.

        Raises RecordError for more than 100 names in a stage.
        """
        return self.own.timer(name)

    def table(self, stage: str, *, dated: bool) -> TableRef:
        """The table that a stage keeps; `dated` is whether it is asked what held before.

        Raises ValueError with one sentence if there is none that can be asked so.
        """
        if stage not in self.tables:
            near = difflib.get_close_matches(stage, self.tables, 1)
            raise ValueError(f"there is no stage {stage!r}" + (f": did you mean {near[0]}?" if near else ""))
        if (found := self.tables[stage]) is None:
            raise ValueError(f"the stage {stage!r} keeps no table: it has no step `table`")
        if dated and found.kept.history is None:
            raise ValueError(f"the table of {stage!r} has no `history`, which `as_of` asks for: add `history: 1h`")
        return found

    @property
    def logger(self) -> logging.Logger:
        """A logger of the stage's own, whose messages appear among those of the run."""
        return logging.getLogger(f"papyra_flow.stage.{self.stage}")


class Component(BaseModel):
    """Base of every step's and connector's model: its fields are what a user may write.

    What the rest of the program wants to know of a component it asks by these methods: it never asks which one it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    kind: ClassVar[str] = "component"
    """Step, source or sink."""
    name: ClassVar[str] = "component"
    """The word that a file uses for it, and the name of its entry point; the class' name where none is declared."""
    is_beside: ClassVar[bool] = False
    """Whether the pipeline's file says where the class stands, so that it needs no packaging (`beside`)."""
    main: ClassVar[str | None] = None
    """The field that the short form fills: `{filter: EXPR}` fills `expression`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    @model_validator(mode="before")
    @classmethod
    def _without_tag(cls, data: object) -> object:
        if isinstance(data, Mapping) and TAG in data:
            return {key: value for key, value in data.items() if key != TAG}
        return data

    def describe(self) -> str:
        """One line for `plan` and diagrams, such as `filter: amount > 3`."""
        value = getattr(self, self.main) if self.main else None
        if isinstance(value, Mapping):
            value = ", ".join(value)
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        return self.name if value is None else f"{self.name}: {value}"

    def files(self) -> tuple[str, ...]:
        """The files that it reads or writes, as the pipeline names them; those of a source may be globs."""
        return ()

    def redis_keys(self, pipeline: str, stage: str) -> tuple[RedisKey, ...]:
        """The Redis keys that it uses as a part of this stage, beside the pipeline's own."""
        return ()

    @property
    def calls_code(self) -> bool:
        """Whether it runs Python from the pipeline's folder, so that an edit there concerns it."""
        return self.is_beside

    @property
    def uses_stdout(self) -> bool:
        """Whether it writes to standard output, which then is not free for anything else."""
        return False

    @classmethod
    def main_is_mapping(cls) -> bool:
        """Whether the main field itself is a mapping, as that of `map` is."""
        if cls.main is None:
            return False
        annotation = cls.model_fields[cls.main].annotation
        return isinstance(origin := get_origin(annotation) or annotation, type) and issubclass(origin, Mapping)


@cache
def entry_points_of(group: str) -> dict[str, EntryPoint]:
    """The entry points registered for a group of components, by name; the first one of a name wins."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return dict(sorted(found.items()))


@cache
def components(group: str) -> dict[str, type[Component]]:
    """The installed components of a group; one whose module cannot be imported is left out (`broken`)."""
    loaded = {name: _load(point) for name, point in entry_points_of(group).items()}
    return {name: cls for name, cls in loaded.items() if not isinstance(cls, str)}


@cache
def broken(group: str) -> dict[str, str]:
    """Why components that are registered cannot be used, by name."""
    loaded = {name: _load(point) for name, point in entry_points_of(group).items()}
    return {name: reason for name, reason in loaded.items() if isinstance(reason, str)}


@cache
def _load(point: EntryPoint) -> type[Component] | str:
    try:
        loaded = point.load()
    except Exception as exc:  # noqa: BLE001 - a plugin may fail in any way, and must not take the others down
        return f"{point.value} cannot be imported: {type(exc).__name__}: {exc}"
    return f"{point.value} {reason}" if (reason := flaw(loaded, WORDS[point.group])) else loaded


def _is_generator(method: object) -> bool:
    return inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)


def flaw(found: object, kind: str) -> str | None:
    """What a class lacks to be a step, a source or a sink, as the rest of a sentence; None if it has all."""
    if not (isinstance(found, type) and issubclass(found, Component) and found.kind == kind):
        return f"is not a {kind}: make it a subclass of papyra_flow.{kind.title()}"
    if undefined := sorted(getattr(found, "__abstractmethods__", ())):
        return f"does not define `{undefined[0]}`"
    if any("__init__" in cls.__dict__ for cls in found.__mro__[: found.__mro__.index(Component)]):
        return "has an `__init__`: its fields are what a file may set, and `setup` is where it opens something"
    for method in ("setup", "restore", "resume", "read", "write", "committed", "teardown"):
        if _is_generator(getattr(found, method, None)):
            return f"has a `yield` in `{method}`, which would never run: it must return"
    if kind == "sink" and inspect.iscoroutinefunction(getattr(found, "committed", None)):
        return "has an async `committed`, which would never be awaited: a sink's must be a plain method"
    if not (found.__doc__ or "").strip():
        return "has no docstring, whose first line goes into the schema"
    if found.main is not None and found.main not in found.model_fields:
        return f"has no field {found.main!r}, which `main` names"
    if kind != "step" and not isinstance(getattr(found, "because", None), str):
        return "does not say why its promise holds: set `because`, which `plan` shows"
    if kind != "step" and (promise := getattr(found, "promise", None)) not in PROMISES:
        return f"promises {promise!r}, which is none of {', '.join(PROMISES)}"
    for name, declared in found.model_fields.items():
        if not declared.description:
            return f"has no description of its field {name!r}: {name}: ... = Field(description=...)"
    return None
