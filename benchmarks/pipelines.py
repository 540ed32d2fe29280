"""What the rows share: filling streams, pipelines of one or three stages, and running a pipeline drained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import redis

from papyra_flow.config.load import load_pipeline
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_async, run_pipeline
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.model import Topology

PORTION = 5000


def step(record: dict[str, Any]) -> dict[str, Any]:
    """The work on a record."""
    record["n"] += 1
    return record


def fill(client: redis.Redis, records: int, *, stream: str = "{b}:s0", groups: Sequence[str] = ("a",)) -> None:
    """Put 200-byte records into a stream, and the groups on it that a bare loop needs."""
    pipe = client.pipeline(transaction=False)
    for n in range(records):
        pipe.xadd(stream, {"data": orjson.dumps({"n": n, "text": "x" * 180})})
        if n % PORTION == PORTION - 1:
            pipe.execute()
    pipe.execute()
    for group in groups:
        client.xgroup_create(stream, group, "0", mkstream=True)


def fill_three(client: redis.Redis, records: int) -> None:
    """The same, with the groups of all three stages."""
    fill(client, records)
    client.xgroup_create("{b}:s1", "b", "0", mkstream=True)
    client.xgroup_create("{b}:s2", "c", "0", mkstream=True)


def load(text: str) -> Topology:
    """A pipeline from its text; its folder is gone once it is loaded."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "pipeline.yml"
        file.write_text(text)
        return build_topology(load_pipeline(file))


def chain(
    stages: int, steps: str = '{run: "benchmarks.pipelines:step"}', more: str = "", *, ordered: bool = False
) -> Topology:
    """`stages` stages in a row, from s0 on, that keep all streams; `ordered` ones have owners."""
    way = "ordered: true, " if ordered else ""
    named = [
        f"  {name}: {{from: s{n}, {way}process: [{steps}], to: s{n + 1}}}" for n, name in enumerate("abcdefgh"[:stages])
    ]
    kept = ", ".join(f"s{n}: {{retain: all}}" for n in range(stages + 1))
    return load("\n".join(["pipeline: b", more, "stages:", *named, f"streams: {{{kept}}}", ""]))


def drain(topology: Topology, path: str, records: int, last: str, **options: Any) -> None:
    """Run a pipeline until it is drained; raises RuntimeError if its last stage did not forward so many records."""
    result = run_async(run_pipeline(topology, f"unix://{path}", RunOptions(drain=True, **options)))
    emitted = sum(result.counters.stages[last].emitted.values())
    if emitted != records:
        raise RuntimeError(f"{last} forwarded {emitted} of {records}: {result}")
