"""`run`: a Python function of the user's as a step.

The function may be sync, async, a generator, or take a whole batch; a parameter annotated with a pydantic
model gets one. What it returns is None (drop), a record, an `Emit`, or an iterable of those. Step functions
are imported from the pipeline's folder.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema

from papyra_flow.error_text import MAX_DETAIL, MAX_MESSAGE, cut, error_of, message_of, shown
from papyra_flow.errors import RecordError
from papyra_flow.records.entries import Record
from papyra_flow.spec.given import Function, GivenFunction, importable_name
from papyra_flow.spec.modules import importing_from
from papyra_flow.spec.units import Duration
from papyra_flow.steps.base import Each, OfTable, Step, StepConfig, StepContext, Whole
from papyra_flow.steps.functions import forks
from papyra_flow.steps.functions.calls import contained, drawn, drawn_async, failure_of, is_ctrl_c, settled
from papyra_flow.steps.functions.table_functions import of_tables, takes_table
from papyra_flow.steps.functions.threads import in_thread

_NAME = re.compile(r"^[\w.]+:[\w.]+$")


def _function(value: object) -> str | GivenFunction:
    """The name that a file says, or the function that Python gave."""
    if isinstance(value, GivenFunction) or (isinstance(value, str) and _NAME.fullmatch(value)):
        return value
    if callable(value):
        return GivenFunction(value)
    raise ValueError(f"expected module:function, not {value!r}")


def _as_name(value: str | GivenFunction) -> str:
    """The name under which a file can say it; raises ValueError if there is none."""
    name = value if isinstance(value, str) else importable_name(value.function)
    if name is None:
        raise ValueError(f"{value} has no name that a file could say: define it in a module, outside other functions")
    return name


class Run(StepConfig):
    """Call a Python function, `module:function`, with each record, or with a whole batch."""

    name: ClassVar[str] = "run"
    main: ClassVar[str] = "function"

    function: Annotated[
        str | GivenFunction | Function,
        PlainValidator(_function),
        PlainSerializer(_as_name, when_used="json"),
        WithJsonSchema({"type": "string", "pattern": _NAME.pattern}),
    ] = Field(description="The function, as `module:function`.")
    batch: bool = Field(False, description="The function takes a list of records and returns one of equal length.")
    concurrency: int = Field(16, ge=1, le=10_000, description="Calls at a time, of an async or threaded function.")
    thread: bool = Field(False, description="Call a function that blocks in threads, so that it holds up nobody.")
    timeout: Duration | None = Field(None, description="How long one call of an async or threaded function may take.")

    def build(self, context: StepContext) -> Step:
        """The step; raises ValueError if the function cannot be imported or does not fit."""
        function = import_function(self.function, context.folder)
        model = self._model(function)
        if takes_table(_parameter(function)):
            raise ValueError(
                f"{self.function} takes a table: put a `batch` step before it, or read a stream with `format: arrow`"
            )
        awaits = self._awaits(function)
        if self.batch:
            return Whole(self._whole(function, model, awaits=awaits))
        call = _with_model(function, model) if model else function
        if awaits or self.thread:
            return Whole(self._concurrent(call, inspect.isasyncgenfunction(function)))
        return Each(call)

    def build_table(self, context: StepContext) -> OfTable | None:
        """The function of tables; None for one of records. Raises ValueError as `build` does."""
        function = import_function(self.function, context.folder)
        self._model(function)
        frame = takes_table(_parameter(function))
        if frame is None:
            return None
        return OfTable(
            of_tables(function, frame, thread=self.thread, timeout=self.timeout, awaits=self._awaits(function))
        )

    def _awaits(self, function: Function) -> bool:
        """Whether calls are awaited; raises ValueError if one could not be given up after `timeout`."""
        awaits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        if self.timeout and not (awaits or self.thread):
            raise ValueError(f"{self.function} is not async: a timeout needs `thread: true`")
        return awaits

    def accepts(self, context: StepContext) -> type | None:
        """The pydantic model of the function's parameter."""
        return self._model(import_function(self.function, context.folder))

    def returns(self, context: StepContext) -> type | None:
        """The pydantic model that the function is annotated to return, alone, in a list or as a generator."""
        hints = _hints(import_function(self.function, context.folder))
        return _model_in(hints.get("return"))

    def _model(self, function: Function) -> type[BaseModel] | None:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            raise ValueError(f"{self.function} does not say which arguments it takes") from None
        takes = [p for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
        if not parameters or len(takes) > 1:
            raise ValueError(f"{self.function} has to take one argument, the {'batch' if self.batch else 'record'}")
        return _model_in(_hints(function).get(parameters[0].name))

    def _concurrent(self, call: Function, collects: bool) -> Callable[[Sequence[Record]], Awaitable[Sequence[object]]]:
        async def called(record: Record) -> object:
            if self.thread:
                return await in_thread(lambda record: _collected(call(record)), record)
            result = call(record)
            if collects:
                return await drawn_async(result)  # type: ignore[arg-type]
            return await result  # type: ignore[misc]

        async def one(record: Record, room: asyncio.Semaphore) -> object:
            try:
                async with room, asyncio.timeout(self.timeout):
                    found = await called(record)
            except BaseException as exc:  # noqa: BLE001 - it is the record's failure
                return failure_of(exc)
            forks.leave_if_child()
            return found

        async def apply(records: Sequence[Record]) -> Sequence[object]:
            room = asyncio.Semaphore(self.concurrency)
            return await asyncio.gather(*(one(record, room) for record in records), return_exceptions=True)

        return apply

    def _whole(
        self, function: Function, model: type[BaseModel] | None, *, awaits: bool
    ) -> Callable[[Sequence[Record]], Awaitable[Sequence[object]]]:
        async def apply(records: Sequence[Record]) -> Sequence[object]:
            results: list[object] = [None] * len(records)
            given: list[object] = []
            places: list[int] = []
            for place, record in enumerate(records):
                try:
                    given.append(contained(_modelled, model, record) if model else record)
                    places.append(place)
                except Exception as exc:  # noqa: BLE001 - a validator may raise anything; it is the record's failure
                    results[place] = exc
            async with asyncio.timeout(self.timeout):
                if awaits:
                    returned = await settled(function(given))  # type: ignore[arg-type]
                else:
                    returned = await in_thread(function, given) if self.thread else contained(function, given)
            if not isinstance(returned, list | tuple) or len(returned) != len(given):
                got = f"{len(returned)} items" if isinstance(returned, list | tuple) else shown(returned, 60)
                raise RecordError(f"{self.function} has to return a list of {len(given)} items, not {got}")
            for place, result in zip(places, returned, strict=True):
                results[place] = result
            return results

        return apply


def import_function(name: str | GivenFunction | Function, folder: Path) -> Function:
    """The function called `module:function`, with modules of `folder` found first; or the one that was given.

    Raises ValueError with one sentence: no such module, no such function, or the module's own exception.
    """
    if not isinstance(name, str):
        return name.function if isinstance(name, GivenFunction) else name
    module_name, _, attribute = name.partition(":")
    try:
        with importing_from(folder):
            found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise ValueError(f"there is no module {exc.name!r} (looked in {folder.name}/ and what is installed)") from exc
    except BaseException as exc:
        forks.leave_if_child(exc)
        if is_ctrl_c(exc):
            raise
        raise ValueError(f"{module_name} cannot be imported: {error_of(exc)}") from exc
    forks.leave_if_child()
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise ValueError(f"the module {module_name!r} has no function {attribute!r}") from None
    except Exception as exc:
        raise ValueError(f"the function {attribute!r} of {module_name!r} cannot be had: {error_of(exc)}") from exc
    if not callable(found):
        raise ValueError(f"{name} is not a function")
    return found


def _hints(function: Function) -> dict[str, object]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return typing.get_type_hints(target)
    except Exception as exc:  # an annotation is any expression
        name = shown(getattr(function, "__name__", function))
        raise ValueError(f"the annotations of {name} do not resolve: {message_of(exc)}") from exc


def _parameter(function: Function) -> object:
    """What the function's first parameter is annotated with."""
    return _hints(function).get(next(iter(inspect.signature(function).parameters)))


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The one pydantic model in an annotation such as `M`, `M | None`, `list[M]` or `Iterator[M]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = {found for inner in typing.get_args(annotation) if (found := _model_in(inner))}
    return models.pop() if len(models) == 1 else None


def _modelled(model: type[BaseModel], record: Record) -> BaseModel:
    try:
        return model.model_validate(record)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        place = cut(".".join(str(part)[:MAX_DETAIL] for part in first["loc"][:20]), MAX_DETAIL)
        told = cut(first["msg"], MAX_MESSAGE)
        raise RecordError(f"the record does not fit {model.__name__}: {place}: {told}") from exc


def _collected(result: object) -> object:
    """A generator's items, made in the thread that runs it."""
    return drawn(result) if inspect.isgenerator(result) else result


def _with_model(function: Function, model: type[BaseModel]) -> Function:
    return lambda record: function(_modelled(model, record))
