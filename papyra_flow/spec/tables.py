"""Tables that stages keep, and what a lookup has to know to ask one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

ReadState: TypeAlias = Callable[[str, Sequence[str | bytes]], Awaitable[Sequence[bytes | None]]]
"""Reads fields of a hash, by its key, in place of a server."""


class KeptTable(NamedTuple):
    """A table as the step that keeps it has it; times are in milliseconds."""

    parts: int
    """Values that a key is made of."""
    ttl: int | None = None
    history: int | None = None


class TableRef(NamedTuple):
    """A table of a stage: the hashes that hold it on the pipeline's server, one for each partition."""

    hashes: tuple[str, ...]
    kept: KeptTable
