"""Calling a connector of the user's own: sync or async, and whatever it raises is a ConnectorError with its name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import TypeVar

from papyra_flow.error_text import error_of, shown
from papyra_flow.errors import ConfigurationError, ConnectorError, PapyraFlowError
from papyra_flow.spec.components import Component

T = TypeVar("T")
_log = logging.getLogger("papyra_flow.connectors")


async def done(result: Awaitable[T] | T) -> T:
    """What a method returned, or what it comes to if it is async."""
    if inspect.isawaitable(result):
        found: T = await result
        return found
    return result


def expected(component: Component, method: str, found: object, kind: type | UnionType, words: str) -> None:
    """Raise ConfigurationError where a method returned, or handed out, something of another type."""
    if not isinstance(found, kind):
        raise ConfigurationError(f"{component.describe()}: `{method}` returned {shown(found)}, {words}")


@contextmanager
def guarded(component: Component, method: str) -> Iterator[None]:
    """Turn what a method raises into one sentence; a failed `teardown` is logged and ends nothing."""
    try:
        yield
    except PapyraFlowError:
        if method != "teardown":
            raise
        _log.warning("%s: `teardown` failed", component.describe(), exc_info=True)
    except (Exception, SystemExit) as exc:  # a library that exits must not end the run silently
        told = f"{component.describe()}: `{method}` failed: {error_of(exc)}"
        if method == "teardown":
            _log.warning("%s", told)
            return
        raise ConnectorError(told) from exc
