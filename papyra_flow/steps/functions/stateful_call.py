"""Calls of a function that is given what is remembered of a key: what it changes counts when it has returned.

It works on a draft; if it raises, or leaves what JSON does not have, the draft is thrown away and the store has not
changed. An awaited function is called for records of one key one after another, and for others concurrently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel

from papyra_flow.errors import RecordError
from papyra_flow.records.values import Value
from papyra_flow.state.fields import with_part
from papyra_flow.state.key_state import Draft, State
from papyra_flow.state.store import Store
from papyra_flow.steps.functions.calls import contained, drawn_async, settled
from papyra_flow.steps.functions.signature import Signature
from papyra_flow.steps.functions.step_function import Function, collected, modelled
from papyra_flow.steps.functions.threads import in_thread


class Job(NamedTuple):
    """One call: whose state it is about, and what it is called with beside that."""

    field: bytes
    time: int
    arguments: Sequence[object]
    context: object = None


@dataclass(frozen=True, slots=True)
class StatefulCall:
    """A function, and how it is called with the state of a key."""

    function: Function
    signature: Signature
    waits: bool
    """Whether it may set timers."""
    thread: bool = False
    timeout: float | None = None
    concurrency: int = 16
    ended: bool = False
    """Whether time has come to its end, where no timer is set any more."""

    @property
    def awaits(self) -> bool:
        """Whether it has to be awaited."""
        return self.signature.is_async or self.signature.is_async_generator or self.thread

    def all(self, store: Store, jobs: Sequence[Job | Exception]) -> list[object]:
        """What comes of each call, or what it met; one after another."""
        return [job if isinstance(job, Exception) else self._one(store, job) for job in jobs]

    def _one(self, store: Store, job: Job) -> object:
        draft = self._draft(store, job)
        try:
            named = self._named(draft, job)
            result = contained(self._call, job, named)
            kept = self._settled(draft, named)
        except Exception as exc:  # noqa: BLE001 - it is the record's failure
            return exc
        self._keep(store, draft, kept)
        return result

    async def all_async(self, store: Store, jobs: Sequence[Job | Exception]) -> list[object]:
        """The same, where calls have to be awaited."""
        outcomes: list[object] = list(jobs)
        room = asyncio.Semaphore(self.concurrency)
        of_key: dict[bytes, list[tuple[int, Job]]] = {}
        for place, job in enumerate(jobs):
            if not isinstance(job, Exception):
                of_key.setdefault(job.field, []).append((place, job))

        async def in_order(mine: Sequence[tuple[int, Job]]) -> None:
            for place, job in mine:
                async with room:
                    outcomes[place] = await self._one_async(store, job)

        async with asyncio.TaskGroup() as group:
            for mine in of_key.values():
                group.create_task(in_order(mine))
        return outcomes

    async def _one_async(self, store: Store, job: Job) -> object:
        draft = self._draft(store, job)
        try:
            named = self._named(draft, job)
            async with asyncio.timeout(self.timeout):
                result = await settled(self._awaited(job, named))
            kept = self._settled(draft, named)
        except Exception as exc:  # noqa: BLE001 - it is the record's failure
            return exc
        self._keep(store, draft, kept)
        return result

    def _call(self, job: Job, named: dict[str, Any]) -> object:
        return collected(self._called(job, named))

    async def _awaited(self, job: Job, named: dict[str, Any]) -> object:
        if self.thread:
            return await in_thread(partial(self._call, job), named)
        result = self._called(job, named)
        if self.signature.is_async_generator:
            return await drawn_async(result)  # type: ignore[arg-type]
        if self.signature.is_async:
            return await result  # type: ignore[misc]
        return collected(result)

    def _called(self, job: Job, named: dict[str, Any]) -> object:
        arguments = job.arguments
        if (model := self.signature.model) is not None:
            arguments = (modelled(model, arguments[0]), *arguments[1:])  # type: ignore[arg-type]
        return self.function(*arguments, **named)

    # -- state ------------------------------------------------------------------------------------------------

    def _draft(self, store: Store, job: Job) -> Draft:
        sealed = self.signature.state.model is not None
        return Draft(job.field, store.get(job.field), job.time, waits=self.waits, sealed=sealed)

    def _named(self, draft: Draft, job: Job) -> dict[str, Any]:
        """The arguments that are given by name; raises RecordError for a state that does not fit its model."""
        named: dict[str, Any] = {}
        state = self.signature.state
        if state.model is not None and state.model_type is not None:
            named[state.model] = contained(modelled, state.model_type, draft.values, "the state")
        if state.mapping is not None:
            named[state.mapping] = State(draft)
        if self.signature.context is not None:
            named[self.signature.context] = job.context
        return named

    def _settled(self, draft: Draft, named: dict[str, Any]) -> dict[str, Value]:
        """The values that the call left; raises RecordError if they cannot be kept."""
        state = self.signature.state
        if state.model is not None and state.model_type is not None and not draft.cleared:
            contained(_dump, draft, named[state.model], state.model_type)
        return draft.settle()

    def _keep(self, store: Store, draft: Draft, values: dict[str, Value]) -> None:
        """Let the store hold what a call has left."""
        if draft.changed:
            if values:
                store.put(draft.field, values)
            elif store.get(draft.field) is not None:
                store.delete(draft.field)
        for name, at in draft.timers.items():
            member = with_part(draft.field, name)
            if at is None:
                store.delete_timer(member)
            elif not self.ended:
                store.set_timer(at, member)


def _dump(draft: Draft, state: BaseModel, model: type[BaseModel]) -> None:
    """Put a model's fields in place of a draft's values; one that is as it begins is nothing to remember."""
    if not isinstance(state, model):
        raise RecordError(f"the state is not a {model.__name__} any more")
    values = state.model_dump(mode="json", warnings="none")
    modelled(model, values, "the state")
    draft.replace({} if values == model().model_dump(mode="json") else values)
