"""What a step function's signature says: the model that it takes, whether it wants a context, whether it is awaited.

Where a step remembers something by key, its function takes that as well: as a `State`, as a pydantic model, or both.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from papyra_flow.error_text import message_of, shown
from papyra_flow.records.values import Value
from papyra_flow.state.key_state import State
from papyra_flow.steps.context import Context
from papyra_flow.steps.functions.table_functions import Frame, takes_table


@dataclass(frozen=True, slots=True)
class StateParameters:
    """The parameters of a function that take what is remembered of a key, by their names."""

    mapping: str | None = None
    model: str | None = None
    model_type: type[BaseModel] | None = None

    def __bool__(self) -> bool:
        return self.mapping is not None or self.model is not None


NO_STATE = StateParameters()


@dataclass(frozen=True, slots=True)
class Signature:
    """A function as a step calls it."""

    model: type[BaseModel] | None
    """What its first parameter is annotated with, alone or in a list."""
    returns: type[BaseModel] | None
    frame: Frame | None
    """The library whose table it takes."""
    context: str | None
    """The parameter that wants a context, by its name."""
    context_is_second: bool
    """Whether that may be given by its place, which is quicker."""
    is_async: bool
    is_async_generator: bool
    state: StateParameters = NO_STATE

    def bound(self, call: Callable[..., object]) -> Callable[..., object]:
        """The call with a record and its context, as two arguments."""
        if self.context is None or self.context_is_second:
            return call
        name = self.context
        return lambda record, context: call(record, **{name: context})


def signature_of(
    function: Callable[..., object], label: str, *, batch: bool, method: bool = False, keyed: bool = False
) -> Signature:
    """The signature of a function, or of a method without its `self`; raises ValueError if it does not fit a step."""
    parameters = _parameters(function, label)[1 if method else 0 :]
    hints = _hints(function)
    state = _state_parameters(parameters[1:], hints, label) if keyed else NO_STATE
    if keyed and not state:
        raise ValueError(f"{label} takes no state: annotate a parameter with `State`, or leave `key` out")
    if not keyed and any(hints.get(parameter.name) is State for parameter in parameters):
        raise ValueError(f"{label} takes a `State`: say with `key` what it is remembered by")
    context = next((p for p in parameters[1:] if _wants_context(p, hints.get(p.name))), None)
    if context is not None:
        one = _is_one_context(hints.get(context.name))
        if batch and one:
            raise ValueError(f"{label} takes a batch: a context for each record is `{context.name}: list[Context]`")
        if not batch and one is False:
            raise ValueError(f"{label} takes one record: its context is `{context.name}: Context`")
    needed = [p for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    named = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    given = {context.name if context is not None else None, state.mapping, state.model}
    if not parameters or parameters[0].kind in named or len([p for p in needed if p.name not in given]) > 1:
        takes = "the batch" if batch else "the record"
        raise ValueError(f"{label} has to take one argument, {takes}, and may take a `context` beside it")
    first = hints.get(parameters[0].name)
    second = context is not None and context is parameters[1] and context.kind is not context.KEYWORD_ONLY
    return Signature(
        _model_in(first),
        _model_in(hints.get("return")),
        takes_table(first),
        context.name if context is not None else None,
        second,
        *_awaits(function),
        state,
    )


def timer_signature(function: Callable[..., object], label: str) -> Signature:
    """The signature of what `on_timer` calls: with a key, a timer's name, and what is remembered, if it takes that.

    Raises ValueError if it does not fit.
    """
    parameters, hints = _parameters(function, label), _hints(function)
    state = _state_parameters(parameters[2:], hints, label)
    if not state and len(parameters) == 3 and parameters[2].annotation is inspect.Parameter.empty:
        state = StateParameters(parameters[2].name)
    rest = [p for p in parameters[2:] if p.name not in {state.mapping, state.model} and p.default is p.empty]
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if len(parameters) < 2 or not all(p.kind in positional for p in parameters[:2]) or rest:
        raise ValueError(f"{label} has to take a key, a timer's name, and a `state` if it wants it")
    return Signature(None, None, None, None, False, *_awaits(function), state)


def _awaits(function: Callable[..., object]) -> tuple[bool, bool]:
    """Whether it is async, and whether it is an async generator."""
    both = function, _called(function)
    return any(map(inspect.iscoroutinefunction, both)), any(map(inspect.isasyncgenfunction, both))


def _parameters(function: Callable[..., object], label: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ValueError(f"{label} does not say which arguments it takes") from None


def _state_parameters(
    parameters: Sequence[inspect.Parameter], hints: Mapping[str, object], label: str
) -> StateParameters:
    """Those that take what is remembered; raises ValueError where it is not clear which they are."""
    mappings: list[str] = []
    models: list[tuple[str, type[BaseModel]]] = []
    for parameter in parameters:
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            continue
        hint = hints.get(parameter.name)
        if hint is State or (hint is None and parameter.name == "state"):
            mappings.append(parameter.name)
        elif isinstance(hint, type) and issubclass(hint, BaseModel):
            models.append((parameter.name, hint))
    if len(mappings) > 1 or len(models) > 1:
        raise ValueError(f"{label} takes more than one state")
    name, model = models[0] if models else (None, None)
    if model is not None:
        try:
            model()
        except ValidationError as exc:
            field = exc.errors()[0]["loc"][0]
            raise ValueError(f"{model.__name__} cannot begin empty: give its field {field!r} a default") from None
        except Exception as exc:  # a default may come from any code
            raise ValueError(f"{model.__name__} cannot begin empty: {message_of(exc)}") from exc
    return StateParameters(mappings[0] if mappings else None, name, model)


def _wants_context(parameter: inspect.Parameter, annotation: object) -> bool:
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        return False
    if annotation is None:
        return parameter.annotation is parameter.empty and parameter.name in {"context", "contexts"}
    return annotation is Context or Context in typing.get_args(annotation)


def _is_one_context(annotation: object) -> bool | None:
    """Whether an annotation is for one context, and not for a list; None where there is none."""
    if annotation is None:
        return None
    return annotation is Context or type(None) in typing.get_args(annotation)


def _called(function: Callable[..., object]) -> Callable[..., object]:
    """What a call of an object with `__call__` calls."""
    return function if inspect.isroutine(function) else type(function).__call__


def _hints(function: Callable[..., object]) -> dict[str, object]:
    called = _called(function)
    # `Record` is written with `Value`, which the function's own module need not know.
    names = {"Value": Value, **getattr(inspect.unwrap(called), "__globals__", {})}
    try:
        return typing.get_type_hints(called, localns=names)
    except Exception as exc:  # an annotation is any expression
        name = shown(getattr(function, "__name__", function))
        raise ValueError(f"the annotations of {name} do not resolve: {message_of(exc)}") from exc


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The one pydantic model in an annotation such as `M`, `M | None`, `list[M]` or `Iterator[M]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = {found for inner in typing.get_args(annotation) if (found := _model_in(inner))}
    return models.pop() if len(models) == 1 else None
