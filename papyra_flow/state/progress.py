"""How far event time has got in a partition: a low watermark for each input, and the smallest of them for all.

A watermark is a promise that nothing older is still on its way
(https://research.google/pubs/millwheel-fault-tolerant-stream-processing-at-internet-scale/); it never goes back, and it
moves from record to record, so that what is late does not depend on where a batch ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

BEGINNING = -(2**62)
"""Where a watermark is before anything has been read, in milliseconds."""

_PREFIX = "watermark "


class Progress:
    """The watermarks of a partition's inputs, by the names of their streams; kept in the partition's lease."""

    def __init__(self, inputs: Sequence[str], kept: Mapping[str, str] | None = None) -> None:
        self._inputs = {name: int((kept or {}).get(_PREFIX + name, BEGINNING)) for name in inputs}
        self._floor = int((kept or {}).get("watermark", BEGINNING))
        """What the watermark has been: a new input does not take it back."""
        self._told: dict[str, str] = {}
        self.idle: set[str] = set()
        """Inputs that do not hold the watermark back, because nothing is on its way there."""

    @property
    def watermark(self) -> int:
        """The partition's, in milliseconds since 1970."""
        return max(self._floor, min(self._holding(), default=BEGINNING))

    def _holding(self, but: str = "") -> list[int]:
        return [at for name, at in self._inputs.items() if name not in self.idle and name != but]

    def of(self, stream: str) -> int:
        """An input's own watermark."""
        return self._inputs[stream]

    def advance(self, stream: str, times: Sequence[int]) -> list[int]:
        """Records with these event times come in, in order; returns the partition's watermark as of each of them."""
        running = list(accumulate(times, max, initial=self._inputs[stream]))[1:]
        others = min(self._holding(but=stream), default=None)
        floor = self._floor
        if running:
            self._inputs[stream] = running[-1]
        if others is None:
            found = running if floor <= (running[0] if running else floor) else [max(floor, at) for at in running]
        else:
            found = [max(floor, min(others, at)) for at in running]
        if found:
            self._floor = found[-1]
        return found

    def reach(self, watermark: int) -> None:
        """Move the partition's watermark on, whatever its inputs say: all of them have ended, or are idle."""
        self._floor = max(self._floor, watermark)

    def state(self) -> tuple[dict[str, int], int]:
        """What `restore` takes."""
        return dict(self._inputs), self._floor

    def restore(self, state: tuple[dict[str, int], int]) -> None:
        """Go back to where it was: nothing was committed since."""
        self._inputs, self._floor = dict(state[0]), state[1]

    def kept(self) -> dict[str, str]:
        """Fields of the lease that are to change, each once for each change."""
        now = {_PREFIX + name: str(at) for name, at in self._inputs.items() if at != BEGINNING}
        if (watermark := self.watermark) != BEGINNING:
            now["watermark"] = str(watermark)
        changed = {name: value for name, value in now.items() if self._told.get(name) != value}
        self._told |= changed
        return changed
