"""Finding the rows that make a whole table fail, by halving, and doing the others without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from papyra_flow.errors import ServerError
from papyra_flow.runtime.stage.sink_encoding import SinkStoppedError

T = TypeVar("T")
NOT_OF_A_ROW = (ServerError, SinkStoppedError)
"""A server that a step needs is away, or the sink cannot continue: no row is at fault."""


async def sift(
    count: int, attempt: Callable[[Sequence[int]], Awaitable[T]], first: Exception
) -> tuple[T | None, dict[int, Exception]]:
    """Find which of `count` rows make `attempt` fail, which did so with `first` for all of them, and do the others.

    Returns the others' result, None if there are none, and the failure of each row that was left out. Rows that
    fail only together are all left out.
    """
    bad: dict[int, Exception] = {}
    waiting = [(range(count), first)]
    while waiting:
        rows, failure = waiting.pop()
        if len(rows) == 1:
            bad[rows.start] = failure
            continue
        middle = rows.start + len(rows) // 2
        for half in (range(rows.start, middle), range(middle, rows.stop)):
            try:
                await attempt(half)
            except NOT_OF_A_ROW:
                raise
            except Exception as exc:  # noqa: BLE001 - looked into further
                waiting.append((half, exc))
    good = [row for row in range(count) if row not in bad]
    if bad and good:
        try:
            return await attempt(good), bad
        except NOT_OF_A_ROW:
            raise
        except Exception as exc:  # noqa: BLE001 - fine in parts, not together
            first = exc
    return None, {row: bad.get(row, first) for row in range(count)}
