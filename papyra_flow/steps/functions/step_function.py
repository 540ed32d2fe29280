"""A function of the user's as a step: called record by record, concurrently, in threads, or with a whole batch."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from papyra_flow.error_text import MAX_DETAIL, MAX_MESSAGE, cut, shown
from papyra_flow.errors import RecordError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, OfTable, Step, Whole
from papyra_flow.steps.functions import forks
from papyra_flow.steps.functions.calls import contained, drawn, drawn_async, failure_of, settled
from papyra_flow.steps.functions.hosts import Host
from papyra_flow.steps.functions.signature import Signature, signature_of
from papyra_flow.steps.functions.table_functions import of_tables
from papyra_flow.steps.functions.threads import in_thread

Function: TypeAlias = Callable[..., object]
M = TypeVar("M", bound=BaseModel)
Given: TypeAlias = Any
"""What a call gets: a record, or a pair of it and its context where the function wants one."""


@dataclass(frozen=True, slots=True)
class StepFunction:
    """A function, how its calls are made, and the object that it belongs to, where it has one; `label` names it."""

    function: Function
    label: str
    host: Host | None = None
    """Whose `call` is called in place of `function`, which is only its signature then."""
    batch: bool = False
    concurrency: int = 16
    thread: bool = False
    timeout: float | None = None
    keyed: bool = False
    """Whether it is given what is remembered of a key."""

    @property
    def signature(self) -> Signature:
        """What its signature says; raises ValueError if it does not fit a step."""
        return signature_of(self.function, self.label, batch=self.batch, method=self.host is not None, keyed=self.keyed)

    def build(self, context: SetupContext) -> Step:
        """The step over records; raises ValueError if the function does not fit one."""
        signature = self.signature
        if signature.frame:
            raise ValueError(
                f"{self.label} takes a table: put a `batch` step before it, or read a stream with `format: arrow`"
            )
        self.refuse_timeout(signature)
        wanted = context if signature.context is not None else None
        call = signature.bound(self.call)
        if self.batch:
            return Whole(self._whole(call, signature), context=wanted, **self._lifetime)
        call = _with_model(call, signature.model) if signature.model else call
        if signature.is_async or signature.is_async_generator or self.thread:
            apply = self._concurrent(_of_pair(call) if wanted else call, signature.is_async_generator)
            return Whole(apply, context=wanted, **self._lifetime)
        return Each(_of_pair(call) if wanted else call, context=wanted, **self._lifetime)

    def build_table(self, context: SetupContext) -> OfTable | None:
        """The step over tables; None for a function of records. Raises ValueError as `build` does."""
        signature = self.signature
        if signature.frame is None:
            return None
        self.refuse_timeout(signature)
        awaits = signature.is_async or signature.is_async_generator
        call = signature.bound(self.call)
        apply = of_tables(call, signature.frame, thread=self.thread, timeout=self.timeout, awaits=awaits)
        return OfTable(apply, context=context if signature.context is not None else None, **self._lifetime)

    @property
    def call(self) -> Function:
        """What is called: the function, or its object's method."""
        if (host := self.host) is None:
            return self.function

        def call(*given: object, **named: object) -> object:
            return host.call(*given, **named)  # another one once it was started

        return call

    @property
    def _lifetime(self) -> dict[str, Any]:
        return {} if self.host is None else {"start": self.host.start, "close": self.host.close}

    def refuse_timeout(self, signature: Signature) -> None:
        """Raise ValueError for a call that could not be given up after `timeout`."""
        if self.timeout and not (signature.is_async or signature.is_async_generator or self.thread):
            raise ValueError(f"{self.label} is not async: a timeout needs `thread: true`")

    def _concurrent(self, call: Function, collects: bool) -> Callable[[Sequence[Given]], Awaitable[Sequence[object]]]:
        async def called(given: Given) -> object:
            if self.thread:
                return await in_thread(lambda given: collected(call(given)), given)
            result = call(given)
            if collects:
                return await drawn_async(result)  # type: ignore[arg-type]
            return await result  # type: ignore[misc]

        async def one(given: Given, room: asyncio.Semaphore) -> object:
            try:
                async with room, asyncio.timeout(self.timeout):
                    found = await called(given)
            except BaseException as exc:  # noqa: BLE001 - it is the record's failure
                return failure_of(exc)
            forks.leave_if_child()
            return found

        async def apply(records: Sequence[Given]) -> Sequence[object]:
            room = asyncio.Semaphore(self.concurrency)
            return await asyncio.gather(*(one(record, room) for record in records), return_exceptions=True)

        return apply

    def _whole(
        self, function: Function, signature: Signature
    ) -> Callable[[Sequence[Given]], Awaitable[Sequence[object]]]:
        model, awaits = signature.model, signature.is_async or signature.is_async_generator

        async def apply(batch: Sequence[Given]) -> Sequence[object]:
            records, contexts = (batch, None) if signature.context is None else zip(*batch, strict=True)
            results: list[object] = [None] * len(records)
            given: list[object] = []
            places: list[int] = []
            for place, record in enumerate(records):
                try:
                    given.append(contained(modelled, model, record) if model else record)
                    places.append(place)
                except Exception as exc:  # noqa: BLE001 - a validator may raise anything; it is the record's failure
                    results[place] = exc
            more = () if contexts is None else ([contexts[place] for place in places],)
            async with asyncio.timeout(self.timeout):
                if awaits:
                    returned = await settled(function(given, *more))  # type: ignore[arg-type]
                elif self.thread:
                    returned = await in_thread(lambda given: function(given, *more), given)
                else:
                    returned = contained(function, given, *more)
            if not isinstance(returned, list | tuple) or len(returned) != len(given):
                got = f"{len(returned)} items" if isinstance(returned, list | tuple) else shown(returned, 60)
                raise RecordError(f"{self.label} must return a list of {len(given)} items, not {got}")
            for place, result in zip(places, returned, strict=True):
                results[place] = result
            return results

        return apply


def served(found: object) -> Function | None:
    """The `__call__` of a class' objects, where it is a class whose objects are called with records; else None."""
    classes = found.__mro__[:-1] if isinstance(found, type) else ()
    return next((cls.__dict__["__call__"] for cls in classes if "__call__" in cls.__dict__), None)


def modelled(model: type[M], record: Mapping[str, object], what: str = "the record") -> M:
    """A record as a model; raises RecordError if it does not fit."""
    try:
        return model.model_validate(record)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        place = cut(".".join(str(part)[:MAX_DETAIL] for part in first["loc"][:20]), MAX_DETAIL)
        told = cut(first["msg"], MAX_MESSAGE)
        raise RecordError(f"{what} does not fit {model.__name__}: {place}: {told}") from exc


def collected(result: object) -> object:
    """A generator's items, made where it runs."""
    return drawn(result) if inspect.isgenerator(result) else result


def _of_pair(call: Function) -> Function:
    """The call with a pair of a record and its context."""
    return lambda pair: call(*pair)


def _with_model(function: Function, model: type[BaseModel]) -> Function:
    return lambda record, *context: function(modelled(model, record), *context)
