"""Functions of the user's that take a whole table: a `pyarrow.Table` or a polars `DataFrame`, as annotated.

What they return may be either, a `LazyFrame`, a record batch, None (drop), an `Emit`, or an iterable of those.
Neither library is imported here before a function has asked for it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from papyra_flow.steps.functions.calls import drawn_async
from papyra_flow.steps.functions.threads import in_thread

if TYPE_CHECKING:
    import pyarrow as pa

Frame: TypeAlias = Literal["pyarrow", "polars"]
_FRAMES: dict[str, Frame] = {"pyarrow.Table": "pyarrow", "polars.DataFrame": "polars"}


def takes_table(annotation: object) -> Frame | None:
    """The library whose table a parameter is annotated with; None for any other parameter."""
    if not isinstance(annotation, type):
        return None
    return _FRAMES.get(f"{annotation.__module__.partition('.')[0]}.{annotation.__name__}")


def of_tables(
    function: Callable[..., object], frame: Frame, *, thread: bool, timeout: float | None, awaits: bool
) -> Callable[..., object]:
    """The function, called with a table of the kind that it takes, and with a context if it wants one."""

    def given(table: pa.Table) -> object:
        if frame == "pyarrow":
            return table
        import polars as pl

        return pl.from_arrow(table)

    async def patiently(table: pa.Table, *context: object) -> object:
        async with asyncio.timeout(timeout):
            if thread:
                return await in_thread(lambda table: function(table, *context), given(table))
            found = function(given(table), *context)
            if inspect.isasyncgen(found):
                return await drawn_async(found)
            return await found  # type: ignore[misc]

    return patiently if thread or awaits else lambda table, *context: function(given(table), *context)


def as_arrow(value: object) -> pa.Table | None:
    """What a function returned as an Arrow table; None if it is not a table."""
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if type(value).__module__.partition(".")[0] == "polars":
        import polars as pl

        if isinstance(value, pl.LazyFrame):
            value = value.collect()
        if isinstance(value, pl.DataFrame):
            # The oldest types: every reader of the stream knows them.
            return value.to_arrow(compat_level=pl.CompatLevel.oldest())
    return None
