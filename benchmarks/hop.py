"""One hop, stream to stream: against the bare floor, and against what people write or use instead."""

from __future__ import annotations

import json
from typing import Any

import redis

from benchmarks import bare
from benchmarks.pipelines import chain, drain, fill, step
from benchmarks.rig import Line, Rounds, Row, Way, Work, at_least, at_most, median, median_ratio

IN, OUT, GROUP = "{b}:s0", "{b}:s1", "a"


def _floor(path: str, records: int) -> Work:
    return lambda: bare.hop(path, IN, OUT, GROUP, records, step)


def _papyra_flow(path: str, records: int) -> Work:
    topology = chain(1)
    return lambda: drain(topology, path, records, "a")


def _untouched(path: str, records: int) -> Work:
    topology = chain(1, steps="")
    return lambda: drain(topology, path, records, "a")


def _owned(path: str, records: int) -> Work:
    topology = chain(1, ordered=True)
    return lambda: drain(topology, path, records, "a")


def _one_by_one(path: str, records: int) -> Work:
    """redis-py, a record at a time, and no promise."""

    def work() -> None:
        with redis.Redis(unix_socket_path=path) as server:
            for _ in range(records):
                reply: Any = server.xreadgroup(GROUP, "c", {IN: ">"}, count=1, block=1000)
                id_, fields = reply[0][1][0]
                server.xadd(OUT, {"data": json.dumps(step(json.loads(fields[b"data"])))})
                server.xack(IN, GROUP, id_)

    return work


def _faststream(path: str, records: int) -> Work:
    """FastStream, stream in and stream out, as its manual shows it."""
    import asyncio
    import logging

    from faststream.redis import RedisBroker, StreamSub

    async def main() -> None:
        broker = RedisBroker(f"unix://{path}", logger=logging.getLogger("quiet"), log_level=logging.ERROR)
        done = asyncio.Event()
        seen = 0

        async def handle(message: dict[str, Any]) -> dict[str, Any]:
            nonlocal seen
            seen += 1
            if seen == records:
                done.set()
            return step(message)

        # As decorators in its manual; called here, so that types can be checked without FastStream being installed.
        read = StreamSub(IN, group=GROUP, consumer="c", max_records=bare.BATCH)
        broker.subscriber(stream=read)(broker.publisher(stream=OUT)(handle))

        async with broker:
            await broker.start()
            await done.wait()

    return lambda: asyncio.run(main())


def _ways() -> dict[str, Way]:
    ways = {
        "floor": Way(_floor, fill),
        "papyra-flow": Way(_papyra_flow, fill),
        "untouched": Way(_untouched, fill),
        "owned": Way(_owned, fill),
        "one by one": Way(_one_by_one, fill, share=0.03),
    }
    try:
        import faststream  # noqa: F401
    except ImportError:
        return ways
    return {**ways, "FastStream": Way(_faststream, fill, share=0.02)}


def report(rounds: Rounds) -> list[Line]:
    """The ratios, and what a record costs."""
    lines = [
        at_least(
            f"{way}, of the floor", median_ratio(rounds, way, "floor", lambda cost: cost.rate), 0.75,
            f" ({median(rounds[way], lambda cost: cost.rate):,.0f} records/s)",
        )
        for way in ("papyra-flow", "untouched")
    ]  # fmt: skip
    owned = median_ratio(rounds, "owned", "papyra-flow", lambda cost: cost.rate)
    lines.append(at_least("owned, times shared", owned, 1.4))
    for way, bound in (("one by one", 20), ("FastStream", 30)):
        if way in rounds:
            faster = 1 / median_ratio(rounds, way, "papyra-flow", lambda cost: cost.rate)
            rate = median(rounds[way], lambda cost: cost.rate)
            lines.append(at_least(f"papyra-flow, times {way}", faster, bound, f" ({rate:,.0f} records/s)"))
    lines += [
        Line(
            f"{way}: CPU a record, client and server",
            f"{median(costs, lambda c: c.client_us):.1f} + {median(costs, lambda c: c.server_us):.1f} µs",
        )
        for way, costs in rounds.items()
    ]
    own = median(rounds["papyra-flow"], lambda c: c.client_us) - median(rounds["floor"], lambda c: c.client_us)
    return [*lines, at_most("papyra-flow: client CPU above the floor's, a record", own, 2, " µs")]


ROW = Row("one hop", _ways(), 100_000, report, {"appendonly": "no"})
