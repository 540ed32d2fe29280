"""An object that a step's calls go to, with a `setup` and a `teardown`: a connection pool, a model, a session.

It is made when its stage starts, once in each process, and not while a file is only checked.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from papyra_flow.error_text import error_of
from papyra_flow.errors import PapyraFlowError, SetupError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.functions import forks
from papyra_flow.steps.functions.calls import is_ctrl_c

_log = logging.getLogger("papyra_flow.stage")


class Host:
    """What `make` makes, and the method of it that is `call`ed; `label` is for messages."""

    def __init__(self, label: str, make: Callable[[], object], method: str, context: SetupContext) -> None:
        self._label = label
        self._make = make
        self._method = method
        self._context = context
        self._made: object = None
        self.call: Callable[..., object] = self._not_started

    def _not_started(self, *_: object, **__: object) -> object:
        raise RuntimeError(f"{self._label} was not started")

    async def start(self) -> None:
        """Make it and set it up; raises SetupError with one sentence."""
        try:
            self._made = self._make()
            await _called(getattr(self._made, "setup", None), self._context)
        except BaseException as exc:
            forks.leave_if_child(exc)
            await self.close()
            if is_ctrl_c(exc) or isinstance(exc, PapyraFlowError):
                raise
            raise SetupError(f"{self._label} of {self._context.stage!r} could not be set up: {error_of(exc)}") from exc
        self.call = getattr(self._made, self._method)

    async def close(self) -> None:
        """Tear it down; an error is logged, and changes nothing."""
        made, self._made, self.call = self._made, None, self._not_started
        if made is None:
            return
        try:
            await _called(getattr(made, "teardown", None))
        except Exception as exc:  # noqa: BLE001 - it may raise anything, and all it was for is done
            _log.warning("%s: the teardown of %s failed: %s", self._context.stage, self._label, error_of(exc))


async def _called(method: Callable[..., object] | None, *offered: object) -> None:
    """Call a method that may be async, with what is offered if it takes that."""
    if method is None:
        return
    takes = [p for p in inspect.signature(method).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    found = method(*offered[: len(takes)])
    if inspect.isawaitable(found):
        await found
