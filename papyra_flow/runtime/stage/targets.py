"""Where a stage's commits may add entries, by number: its streams, behind them its dead letters, and what is beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import StreamSpec


@dataclass(frozen=True, slots=True)
class Targets:
    """The streams that a stage forwards to are counted from 0, `dead` and `pieces` are the numbers behind them."""

    streams: Sequence[StreamSpec]
    dead_key: str
    pieces_key: str | None = None

    @classmethod
    def of(cls, spec: StageSpec, topology: Topology) -> Targets:
        """Those of a stage's consumers; pieces of a table are put back into the stage's own stream."""
        pieces = topology.streams[spec.replays[0]].key if spec.reads_tables and spec.replays else None
        return cls(topology.outputs(spec), spec.dead_key, pieces)

    def by_name(self, counts: Mapping[int, int]) -> dict[str, int]:
        """Counts by a stream's number as counts by its name in the file."""
        found: dict[str, int] = {}
        for number, count in counts.items():
            if count and number < len(self.streams):
                name = self.streams[number].of
                found[name] = found.get(name, 0) + count
        return found

    @property
    def dead(self) -> int:
        """The number of the dead letters."""
        return len(self.streams)

    @property
    def pieces(self) -> int:
        """The number of the stream that pieces of a table are put back to."""
        return len(self.streams) + 1

    @property
    def keys(self) -> list[str]:
        """The keys of all of them, in their order."""
        return [
            *(stream.key for stream in self.streams),
            self.dead_key,
            *([self.pieces_key] if self.pieces_key else []),
        ]

    @property
    def with_headers(self) -> list[int]:
        """Those of the streams whose records can carry headers."""
        return [number for number, stream in enumerate(self.streams) if stream.config.format != "fields"]
