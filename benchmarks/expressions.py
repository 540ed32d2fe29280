"""`filter` and `map` against the same thing written in Python by hand, on records that are decoded already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rig import Figures, Line, Rounds, Row, Way, Work, at_most, median, median_ratio
from papyra_flow.records.batch import Batch
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.processing import Processor
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, Step
from papyra_flow.steps.filter import Filter
from papyra_flow.steps.map import MapFields

BATCH = 500
CONTEXT = SetupContext(Path(), redis="")
FILTER = Filter(expression="arr_delay is not None and arr_delay > 15 and dest in ('SEA', 'PDX', 'SFO')")
MAP = MapFields(
    fields={"flight": "carrier + flight", "late": "arr_delay > 60", "hours": "air_time / 60", "dest": "dest"}
)


def filter_by_hand(record: dict[str, Any]) -> dict[str, Any] | None:
    """The filter as a step function."""
    if record["arr_delay"] is not None and record["arr_delay"] > 15 and record["dest"] in ("SEA", "PDX", "SFO"):
        return record
    return None


def map_by_hand(record: dict[str, Any]) -> dict[str, Any]:
    """The map as a step function."""
    return {
        "flight": record["carrier"] + record["flight"],
        "late": record["arr_delay"] > 60,
        "hours": record["air_time"] / 60,
        "dest": record["dest"],
    }


class _Decoded(Decoder):
    """Gives records that are there already, so that the steps alone are measured."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        super().__init__([], 0)
        self._records = records

    def decode(self, batch: Batch, failures: Any) -> Any:
        from papyra_flow.records.rows import Rows

        return Rows(self._records, range(len(self._records)))


def _flights() -> list[dict[str, Any]]:
    dests = ("SEA", "PDX", "SFO", "ORD")
    return [
        {"carrier": "AA", "flight": str(n), "arr_delay": n % 120, "dest": dests[n % 4], "air_time": 60 + n % 300}
        for n in range(BATCH)
    ]


def _steps(steps: Sequence[Step]) -> Way:
    def set_up(_: str, records: int) -> Work:
        flights = _flights()
        processor = Processor(steps, _Decoded(flights))
        batch = Batch("k", [b""] * BATCH, [()] * BATCH)

        async def main() -> Figures:
            started = time.perf_counter()
            for _ in range(records // BATCH):
                await processor.process(batch)
            return {"rate": records / (time.perf_counter() - started)}

        return lambda: asyncio.run(main())

    return Way(set_up)


def _loop() -> Way:
    """Both by hand, in a loop of one's own, without any framework."""

    def set_up(_: str, records: int) -> Work:
        flights = _flights()

        def work() -> Figures:
            started = time.perf_counter()
            for _ in range(records // BATCH):
                kept = []
                for record in flights:
                    if filter_by_hand(record) is not None:
                        kept.append(map_by_hand(record))
            return {"rate": records / (time.perf_counter() - started)}

        return work

    return Way(set_up)


def report(rounds: Rounds) -> list[Line]:
    """Times by hand."""
    lines = []
    for ours, by_hand in (("filter", "filter by hand"), ("map", "map by hand"), ("both", "a bare loop")):
        times = 1 / median_ratio(rounds, ours, by_hand, lambda cost: cost.rate)
        each = [1e9 / median(rounds[way], lambda cost: cost.rate) for way in (ours, by_hand)]
        lines.append(
            at_most(f"{ours}, times {by_hand}", times, 1.5, more=f" ({each[0]:.0f} and {each[1]:.0f} ns a record)")
        )
    return lines


ROW = Row(
    "expressions",
    {
        "filter": _steps([FILTER.build(CONTEXT)]),
        "filter by hand": _steps([Each(filter_by_hand)]),
        "map": _steps([MAP.build(CONTEXT)]),
        "map by hand": _steps([Each(map_by_hand)]),
        "both": _steps([FILTER.build(CONTEXT), MAP.build(CONTEXT)]),
        "a bare loop": _loop(),
    },
    1_000_000,
    report,
)
