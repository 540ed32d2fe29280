"""A stream of a topology: as it is in Redis, and as the file names it, and people see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from papyra_flow.spec import defaults
from papyra_flow.spec.streams import StreamConfig


@dataclass(slots=True)
class StreamSpec:
    """A stream in Redis: its name, its key, who of the pipeline writes and reads it.

    One of the file that has partitions is several of them here, named `orders/0`, `orders/1` and so on.
    """

    name: str
    key: str
    config: StreamConfig
    declared: bool = False
    implicit: bool = False
    """Made by the planner, between a source and the steps of the same stage."""
    replay: bool = False
    """Made by the planner, for a stage's dead letters that are to be tried again."""
    writers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    number: int | None = None
    """The number of the partition that it is; None where the stream of the file has none."""

    @property
    def of(self) -> str:
        """The name of the stream in the file."""
        return self.name if self.number is None else self.name.rpartition("/")[0]

    @property
    def total(self) -> int:
        """How many partitions that stream has."""
        return 1 if self.number is None else self.config.total

    @property
    def hidden(self) -> bool:
        """Whether it is left out of what people are shown."""
        return self.replay

    @property
    def internal(self) -> bool:
        """Whether the planner made it, so that the file does not name it."""
        return self.implicit or self.replay

    @property
    def external(self) -> bool:
        """Whether the key belongs to others: it is never trimmed and never deleted."""
        return self.config.key is not None

    @property
    def retain(self) -> str | float:
        """`acked`, `all`, or seconds that acked entries are kept."""
        if self.external:
            return "all"
        if self.config.retain is not None:
            return self.config.retain
        return "acked" if self.readers else "all"

    @property
    def max_backlog(self) -> int | None:
        """The backlog of all partitions at which writers pause; None where no stage of the pipeline reads it."""
        default = defaults.TABLES_IN_BACKLOG if self.holds_tables else defaults.RECORDS_IN_BACKLOG
        return (self.config.max_backlog or default) if self.readers else None

    @property
    def holds_tables(self) -> bool:
        """Whether its entries are tables of records."""
        return self.config.format == "arrow"


@dataclass(frozen=True, slots=True)
class NamedStream:
    """A stream as the file names it, and people see it: its partitions in their order, or itself."""

    name: str
    key: str
    """As it is shown: for several partitions a glob that matches their keys."""
    parts: tuple[StreamSpec, ...]

    @property
    def spec(self) -> StreamSpec:
        """What is the same for all partitions stands in the first."""
        return self.parts[0]

    @property
    def keys(self) -> list[str]:
        """The keys in Redis."""
        return [part.key for part in self.parts]

    @property
    def partitions(self) -> int | None:
        """How many there are; None for a stream that has none."""
        return None if self.spec.number is None else len(self.parts)
