"""A stage's routes as both routers have them: the targets' numbers and formats, and the conditions in their order.

How one is chosen differs: a record is asked about each condition in turn, a table is cut by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

from papyra_flow.error_text import shown
from papyra_flow.errors import UnknownTargetError
from papyra_flow.records.entries import Format
from papyra_flow.runtime.stage.partitioner import Spread
from papyra_flow.topology.model import RouteSpec
from papyra_flow.topology.streams import StreamSpec

C = TypeVar("C")
"""A condition, ready to be asked."""


class WayOut(NamedTuple, Generic[C]):
    """A route: the number of its target, its condition (None: always), and that as it is written."""

    target: int
    when: C | None
    text: str


class Routes(Generic[C]):
    """A stage's routes; targets are counted from 0 in the order of `targets`, none of them for a sink.

    The number of a stream with partitions is that of its first, until `spread` says which of them a record goes to.
    """

    def __init__(
        self,
        routes: Sequence[RouteSpec],
        match: Literal["first", "all"],
        targets: Sequence[StreamSpec],
        condition: Callable[[str], C],
    ) -> None:
        self.spread = Spread(targets)
        """Which partition of its target a record goes to."""
        self._number = self.spread.first
        self.formats: list[Format] = [target.config.format for target in targets]
        self.copy_all = match == "all"
        """Whether a record goes to every route that it fits, in place of the first."""
        self.ways = [
            WayOut(self._number[route.stream], condition(route.when) if route.when else None, route.when or "")
            for route in routes
        ]
        alone = len(self.ways) == 1 and self.ways[0].when is None
        self.only = self.ways[0].target if alone else None
        """The target of everything, where there is but one and nothing is asked."""

    def named(self, name: str) -> int:
        """The number of the stream that an `Emit` names; raises UnknownTargetError."""
        if name not in self._number:
            there = f"; it names {', '.join(self._number)}" if self._number else ""
            raise UnknownTargetError(f"Emit: `to` is {shown(name)}, which the stage's `to` does not name{there}")
        return self._number[name]
