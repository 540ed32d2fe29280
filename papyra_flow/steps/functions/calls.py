"""Calling what users wrote: whatever it raises is the failure of the record that it was called with.

That goes for SystemExit, KeyboardInterrupt, CancelledError and GeneratorExit, too: a step that ends its process, or its
task, would end the run for all other records.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from papyra_flow.error_text import message_of, name_of, shown
from papyra_flow.errors import RecordError, Retry, ServerError
from papyra_flow.steps.functions import forks

T = TypeVar("T")

MAX_PARTS = 1_000_000
"""Records that one call may return or yield: an endless generator ends here, and not with the memory."""
MAX_AFTER_SECONDS = 366 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a call raised, which is something else than an exception that it returned."""

    failure: Exception


def failure_of(exc: BaseException) -> Exception:
    """What a step raised, as the failure of its record; raises it again where it is the user's Ctrl-C."""
    forks.leave_if_child(exc)
    if is_ctrl_c(exc):
        raise exc
    if isinstance(exc, Retry) and (wrong := _wrong_wait(exc.after)):
        return RecordError(f"Retry: `after` must be a number of seconds, {wrong}").with_traceback(exc.__traceback__)
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration | StopAsyncIteration | ServerError):
        return exc
    # A ServerError is the step's own, too: of ours it would say that no record is at fault.
    told = RuntimeError(f"the step raised {name_of(type(exc))}: {message_of(exc) or 'no message'}")
    return told.with_traceback(exc.__traceback__)


def is_ctrl_c(exc: BaseException) -> bool:
    """Whether the KeyboardInterrupt is a user's Ctrl-C, and not one that a step raised itself."""
    if not isinstance(exc, KeyboardInterrupt):
        return False
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_name == "_on_sigint"  # asyncio's own handler


def contained(function: Callable[..., T], *arguments: object) -> T:
    """What a function returns; raises what it raised, as `failure_of` has it."""
    try:
        found = function(*arguments)
    except BaseException as exc:  # noqa: BLE001 - it is the record's failure
        failure = failure_of(exc)
    else:
        if forks.in_child:
            forks.leave_if_child()
        return found
    raise failure


async def settled(call: Awaitable[object]) -> object:
    """What a call comes to, in a task of its own: a step that cancels its task cancels nothing else.

    Raises what it raised, as `failure_of` has it; CancelledError only where the caller itself is cancelled.
    """

    async def alone() -> object | Exception:
        try:
            return await call
        except BaseException as exc:  # noqa: BLE001 - of a task, some of them would end the loop
            return _Raised(failure_of(exc))
        finally:
            forks.leave_if_child()

    # `gather` raises CancelledError where the caller is cancelled, whatever the task makes of that.
    (found,) = await asyncio.gather(alone(), return_exceptions=True)
    if isinstance(found, BaseException):
        raise failure_of(found)
    if isinstance(found, _Raised):
        raise found.failure
    return found


def drawn(items: Iterable[object]) -> list[object]:
    """All that a generator yields, each as it was then; raises RecordError for too many."""
    found: list[object] = []
    for item in items:
        found.append(_as_now(item))
        _refuse_endless(len(found))
    return found


async def drawn_async(items: AsyncIterable[object]) -> list[object]:
    """The same of an async generator."""
    found: list[object] = []
    async for item in items:
        found.append(_as_now(item))
        _refuse_endless(len(found))
    return found


def bounded(items: Iterable[object]) -> Iterator[object]:
    """The items, one by one; raises RecordError for too many."""
    for count, item in enumerate(items, start=1):
        _refuse_endless(count)
        yield item


def _as_now(item: object) -> object:
    """A generator may go on to change what it has yielded."""
    if type(item) is dict:
        return dict(item)
    return item.model_copy() if isinstance(item, BaseModel) else item


def _refuse_endless(count: int) -> None:
    if count > MAX_PARTS:
        raise RecordError(f"the step made more than {MAX_PARTS:,} records of one")


def _wrong_wait(after: object) -> str | None:
    if after is None:
        return None
    if isinstance(after, bool) or not isinstance(after, int | float):
        return f"not {shown(after)}"
    if not 0 <= after <= MAX_AFTER_SECONDS:  # which NaN is not, either
        return f"from 0 to {MAX_AFTER_SECONDS:,.0f}, not {shown(after)}"
    return None
